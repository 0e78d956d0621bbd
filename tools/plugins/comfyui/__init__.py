"""A node for ComfyUI that gives pictures the looks of other pictures.

ComfyUI reads the two dicts of this module.
"""

from .node import Analogy

NODE_CLASS_MAPPINGS = {"Analogy": Analogy}
NODE_DISPLAY_NAME_MAPPINGS = {"Analogy": "Looks of Another Picture (analogy)"}
