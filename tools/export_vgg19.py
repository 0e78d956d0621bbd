"""Convert VGG-19 weights to a model folder: tools/export_vgg19.py WEIGHTS -o FOLDER."""
