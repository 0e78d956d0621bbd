"""VGG networks as folders of ONNX graphs: which there are, where their weights come from, how they are made.

Here live the model folders (`models`), their cards (`cards`) and what is checked before a graph is run (`checks`), the
published weights (`published`) and their download (`pull`), what a network is (`description`), the readers of weight files
(`weights`, `onnx_weights`, `caffe`, `torch_zip`, `protobuf`), and the conversion to ONNX (`export`). `method.features` runs
the networks.

What comes in: names, paths, and files that nobody has checked yet. A file is never trusted, and nothing in it is run.

May import: `settings`, `errors`, `inputs`. `export`, `weights` and `pull` need the extra `export`, and import it when used.
"""
