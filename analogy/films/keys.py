"""Keys of a film: the paintings that the user gives, and keys made for shots without a painting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from ..errors import SettingsError
from ..pictures.images import Picture
from ..pictures.reading import PictureLike, read_picture
from .frames import FramesOfOneSize
from .naming import find_frames
from .plan import nearest

MakeKey = Callable[..., np.ndarray]
"""Function that makes the key of a frame, (H, W, 3) uint8.

It is called with the frame and a style, or with the frame, another frame's key and, as `b`, that
other frame.
"""


class Keys:
    """Keys of a film, each of which is found by the index of its frame.

    Attributes
    ----------
    given : dict of int to Picture
        Index of a frame -> the painting that the user gives for it. A transparent painting has been
        laid over the frame.
    """

    def __init__(
        self,
        frames: FramesOfOneSize,
        paintings: Mapping[int | str, PictureLike],
        style: PictureLike | None,
        make: MakeKey,
        made_with: str,
    ):
        """Read the paintings, or the style if there are no paintings.

        Parameters
        ----------
        frames : FramesOfOneSize
            The film.
        paintings : mapping of int or str to picture
            Name or index of a frame (see `find_frame`) -> its painting.
        style : picture, optional
            The picture in whose style a key is made for each shot, in place of paintings.
        make : callable
            Makes a key (see `MakeKey`).
        made_with : str
            String that changes if the settings or the model of `make` change.

        Raises
        ------
        SettingsError
            If there are both paintings and a style, or neither; if a name matches no frame or
            several; or if two names mean the same frame.
        ImageError
            If a picture cannot be read, or a painting differs from the film in size.
        """
        if bool(paintings) == (style is not None):
            given = "both are" if paintings else "neither is"
            raise SettingsError(f"a clip needs either keys or a style, but {given} given; give one of the two")
        self._frames, self._make, self._made_with = frames, make, made_with
        self.given: dict[int, Picture] = {}
        for index, painting in find_frames(frames.names, frames.files, paintings).items():
            key = frames.fitting(read_picture(painting, name=f"the key of frame {frames.names[index]}"))
            self.given[index] = key if key.alpha is None else Picture(key.over(frames.read(index).rgb), name=key.name)
        self._style = None if style is None else read_picture(style, name="the style")

    def pixels(self, index: int) -> np.ndarray:
        """Return the key of a frame, (H, W, 3) uint8.

        If the user has given a key for the frame, this key is returned. Otherwise the key is made
        from the style or, without a style, from the nearest given key.
        """
        if index in self.given:
            return self.given[index].rgb
        frame = self._frames.read(index).rgb
        if self._style is not None:
            return self._make(frame, self._style.rgb)
        near = nearest(self.given, index)
        return self._make(frame, self.given[near].rgb, b=self._frames.read(near).rgb)

    def made_from(self, index: int) -> list[str]:
        """Return checksums of everything that the key of a frame is made from, except the frame."""
        if index in self.given:
            return [_checksum(self.given[index])]
        if self._style is not None:
            return [self._made_with, _checksum(self._style)]
        near = nearest(self.given, index)
        return [self._made_with, _checksum(self.given[near]), self._frames.digest(near)]


def _checksum(picture: Picture) -> str:
    """Return the SHA-256 of the size and the pixels of a picture."""
    return hashlib.sha256(repr(picture.size).encode() + picture.rgb.tobytes()).hexdigest()
