"""VGG networks as folders of ONNX graphs: models on disk, their weights, and their conversion.

`models` finds and writes the folders of models, `cards` reads their cards, and `checks` checks
their files before a graph is run. `published` lists the published weights, and `pull` downloads
them. `description` describes a network, `weights` (with `onnx_weights`, `caffe`, `torch_zip` and
`protobuf`) reads weight files, and `export` converts a network to ONNX. `method.features` runs the
networks.

No file is trusted: each is checked before it is used, and code in it is never run.

Of the other parts of the package, these modules import only `errors` and `files`. The module
`export` needs the extra `export`; `weights` and `pull` import packages of that extra only when they
need them.
"""
