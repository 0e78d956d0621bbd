"""VGG networks as folders of ONNX graphs: the models on disk, the sources of their weights, and their conversion.

Here live the model folders (`models`), their cards (`cards`) and what is checked before a graph is
run (`checks`), the published weights (`published`) and their download (`pull`), what a network is
(`description`), the readers of weight files (`weights`, `onnx_weights`, `caffe`, `torch_zip`,
`protobuf`), and the conversion to ONNX (`export`). `method.features` runs the networks.

Names and paths come in, and files that nobody has checked yet. A file is never trusted, and nothing
in it is run.

May import: `errors`, `files`. `export` needs the extra `export`; `weights` and `pull` import what
they need of that extra when they are used.
"""
