"""Layers of Krita's documents: reading their pixels, and adding a new layer above another.

The functions take Krita's own objects, `Document` and `Node`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, NamedTuple

from .pixels import Region, alpha_of, label_colours, label_png, layer_png

_BITS = {"U8": 8, "U16": 16}
"""Krita's name of a depth -> number of bits of a sample."""


class LayerError(Exception):
    """Error about a layer that cannot be used. The message is a sentence that says what to do."""


class Rectangle(NamedTuple):
    """A part of a document, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Layer(NamedTuple):
    """A layer of a document, as Krita's `Document` and `Node`."""

    document: Any
    node: Any

    @property
    def words(self) -> str:
        """The name of the document's file and the name of the layer, for the user."""
        return f"{Path(self.document.fileName()).name or 'Unnamed'}: {self.node.name()}"

    @property
    def is_group(self) -> bool:
        """True if the layer is a group of layers."""
        return self.node.type() == "grouplayer"

    def rectangle(self) -> Rectangle:
        """Return the smallest rectangle of the canvas that contains all that the layer shows on it.

        Raises `LayerError` if the layer shows nothing on the canvas.
        """
        own = self.node.bounds()
        left, top = max(0, own.x()), max(0, own.y())
        right = min(self.document.width(), own.x() + own.width())
        bottom = min(self.document.height(), own.y() + own.height())
        if right <= left or bottom <= top:
            raise LayerError(f"The layer '{self.node.name()}' is empty; choose one with a picture.")
        return Rectangle(left, top, right - left, bottom - top)

    def bits(self) -> int:
        """Return the number of bits of a sample, 8 or 16.

        Raises `LayerError` unless the layer is RGB with 8 or 16 bits.
        """
        model, depth = self.node.colorModel(), self.node.colorDepth()
        if model != "RGBA" or depth not in _BITS:
            raise LayerError(
                f"The layer '{self.node.name()}' is {model} {depth}; convert the image to RGB/Alpha with 8 or 16 bits "
                "(Image > Convert Image Color Space)."
            )
        return _BITS[depth]

    def pixels(self, part: Rectangle) -> bytes:
        """Return the pixels of a part of the layer, with its masks and effects applied."""
        return bytes(self.node.projectionPixelData(*part))

    def png(self) -> bytes:
        """Return the pixels of `rectangle` as a PNG file.

        Raises `LayerError` if the layer is empty, or is not an RGB layer of 8 or 16 bits.
        """
        part = self.rectangle()
        return layer_png(self.pixels(part), part.width, part.height, self.bits())

    def regions(self, part: Rectangle) -> list[Region]:
        """Return the layers of this group as regions within `part`, the lowest layer first."""
        layers = [Layer(self.document, each) for each in self.node.childNodes() if _is_layer(each)]
        return [Region(each.node.name().strip(), alpha_of(each.pixels(part), each.bits())) for each in layers]


def all_layers(documents: list[Any]) -> Iterator[Layer]:
    """Yield each layer of these documents, including layers in groups, from the top down."""
    for document in documents:
        for node in _below(document.rootNode()):
            yield Layer(document, node)


def label_pictures(a: Layer, of_a: Layer, b_prime: Layer, of_b: Layer) -> tuple[bytes, bytes]:
    """Return the label pictures of two layers as PNG files, made from the groups `of_a` and `of_b`.

    Each layer of a group is a region, and regions with the same name match. Raises `LayerError` if
    a region is missing in one of the groups, or if there are no regions or too many.
    """
    parts = [a.rectangle(), b_prime.rectangle()]
    groups = [group.regions(part) for group, part in zip((of_a, of_b), parts)]
    try:
        colours = label_colours(*groups)
    except ValueError as error:
        words = str(error)
        raise LayerError(f"{words[0].upper()}{words[1:]}.") from None
    of_each = [label_png(group, colours, part.width, part.height) for group, part in zip(groups, parts)]
    return of_each[0], of_each[1]


def add_above(layer: Layer, name: str, corner: tuple[int, int], size: tuple[int, int], pixels: bytes) -> Any:
    """Add a new layer above `layer`, with the same colour model and profile, and return its node.

    `corner` is the column and the row of the new layer's first pixel, and `size` its width and
    height. `pixels` are in Krita's order, with the depth of `layer`.
    """
    document, node = layer
    new = document.createNode(name, "paintlayer")
    (node.parentNode() or document.rootNode()).addChildNode(new, node)
    if (new.colorDepth(), new.colorProfile()) != (node.colorDepth(), node.colorProfile()):
        new.setColorSpace(node.colorModel(), node.colorDepth(), node.colorProfile())
    new.setPixelData(pixels, *corner, *size)
    document.refreshProjection()
    return new


def _below(node: Any) -> Iterator[Any]:
    for child in reversed(node.childNodes()):
        if _is_layer(child):
            yield child
            yield from _below(child)


def _is_layer(node: Any) -> bool:
    """Return whether a node has a picture of its own, which masks and filters do not have."""
    return node.type().endswith("layer") and node.type() != "filterlayer"
