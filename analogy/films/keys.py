"""The keys of a film: paintings of some of its frames, which the caller gives, or which are made for shots without one."""

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
"""A function that paints a frame, (H, W, 3) uint8. It is called with the frame and a style; or with
the frame and a key, and then as `b` with the frame of that key."""


class Keys:
    """The keys of a film, by the indices of their frames.

    given  index -> the painting that the caller gives for a frame, where it is transparent laid over that frame
    """

    def __init__(
        self,
        frames: FramesOfOneSize,
        paintings: Mapping[int | str, PictureLike],
        style: PictureLike | None,
        make: MakeKey,
        made_with: str,
    ):
        """Read the paintings, or the style.

        paintings  the name of a frame (see `find_frame`) -> its painting
        style      in place of paintings: the picture in whose looks each shot's key is made
        made_with  a text that changes with the settings and the model with which `make` paints

        Raises `SettingsError` for both paintings and a style or neither, and for paintings of no
        frame or of the same one, and `ImageError` for a picture that cannot be read or, as a
        painting, differs from the film in size.
        """
        if bool(paintings) == (style is not None):
            raise SettingsError("a clip takes keys, or a style; give one of the two")
        self._frames, self._make, self._made_with = frames, make, made_with
        self.given: dict[int, Picture] = {}
        for index, painting in find_frames(frames.names, frames.files, paintings).items():
            key = frames.fitting(read_picture(painting, name=f"the key of frame {frames.names[index]}"))
            self.given[index] = key if key.alpha is None else Picture(key.over(frames.read(index).rgb), name=key.name)
        self._style = None if style is None else read_picture(style, name="the style")

    def pixels(self, index: int) -> np.ndarray:
        """Return the key of a frame, (H, W, 3) uint8: the given one, or one made from the style or the nearest given one."""
        if index in self.given:
            return self.given[index].rgb
        frame = self._frames.read(index).rgb
        if self._style is not None:
            return self._make(frame, self._style.rgb)
        near = nearest(self.given, index)
        return self._make(frame, self.given[near].rgb, b=self._frames.read(near).rgb)

    def made_from(self, index: int) -> list[str]:
        """Return checksums of all that the key of a frame is made from, apart from that frame."""
        if index in self.given:
            return [_checksum(self.given[index])]
        if self._style is not None:
            return [self._made_with, _checksum(self._style)]
        near = nearest(self.given, index)
        return [self._made_with, _checksum(self.given[near]), self._frames.digest(near)]


def _checksum(picture: Picture) -> str:
    return hashlib.sha256(repr(picture.size).encode() + picture.rgb.tobytes()).hexdigest()
