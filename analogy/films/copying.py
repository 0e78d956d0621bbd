"""Copying of the sound, the subtitles and the attachments of a film into another video."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import ImageError, reason
from .library import open_video, pyav, texts

_log = logging.getLogger("analogy")

_NAMES = {"audio": "sound", "subtitle": "subtitles", "attachment": "an attachment", "data": "data"}
"""FFmpeg's types of streams -> their names in messages."""
_COPIED = ("audio", "subtitle", "attachment")
"""Types of streams that are copied."""
_CHAPTERS = "bin_data"
"""FFmpeg's name of the codec of the data streams in which .mp4 and .mov store chapters."""
_KEPT_FIELDS = ("language", "title", "handler_name", "timecode", "filename", "mimetype")
"""Metadata fields of a stream that are copied; other fields may describe the old encoding."""
_TRIED = 64
"""Maximum number of packets copied to find out whether a container accepts a stream."""


class Copies:
    """Copier of streams, such as sound, from an open video into a video that is being written.

    Parameters
    ----------
    source : av.container.InputContainer or None
        The video to copy from; None if there are no streams to copy.
    indices : collection of int
        Indices of the streams to copy.
    container : av.container.OutputContainer
        The video to copy into, to which nothing has been written yet.
    label : str
        Name of the new video in messages.
    is_trial : bool
        If True, only the first packets are copied, and errors are raised instead of logged.
    """

    def __init__(self, source: Any, indices: Collection[int], container: Any, label: str, is_trial: bool = False):
        """Add the streams to the container. Errors of PyAV and FFmpeg pass through."""
        self._container, self._label, self._is_trial = container, label, is_trial
        self._streams = {}
        for index in sorted(indices):
            stream = source.streams[index]
            self._streams[index] = container.add_stream_from_template(stream)
            copy_fields(stream, self._streams[index])
        coming = [source.streams[index] for index in self._streams if source.streams[index].type != "attachment"]
        self._coming = islice(source.demux(*coming), _TRIED if is_trial else None) if coming else iter(())
        self._next = self._read()

    def mux_before(self, time: float) -> None:
        """Copy the packets up to `time`, in seconds, that have not been copied yet."""
        while self._next is not None and (self._next.dts is None or self._next.dts * self._next.time_base <= time):
            packet, self._next = self._next, self._read()
            index = packet.stream.index
            # A packet without a time marks the end of a stream.
            if packet.dts is None or index not in self._streams:
                continue
            what, at = describe(packet.stream), float(packet.dts * packet.time_base)
            packet.stream = self._streams[index]
            try:
                self._container.mux(packet)
            except pyav().error.FFmpegError as error:
                if self._is_trial:
                    raise
                _log.warning(
                    "%s: %s ends at %.1f s, because the rest cannot be copied (%s)",
                    self._label,
                    what,
                    at,
                    reason(error),
                )
                del self._streams[index]

    def _read(self) -> Any:
        """Return the next packet, or None after the last one.

        If the source is damaged, the method logs this and returns None. In a trial it raises
        PyAV's error.
        """
        try:
            return next(self._coming, None)
        except pyav().error.FFmpegError as error:
            if self._is_trial:
                raise
            _log.warning("%s: sound and subtitles end where the film is damaged (%s)", self._label, reason(error))
            return None


def copy_fields(old: Any, new: Any) -> None:
    """Copy the `_KEPT_FIELDS` of an old stream to a new one, and flags such as "default"."""
    fields = {name: value for name, value in texts(old.metadata).items() if name.lower() in _KEPT_FIELDS}
    new.metadata.update(fields)
    if old.type != "attachment":
        new.disposition = old.disposition.value


@contextmanager
def copies(
    path: Path | None, indices: Collection[int], container: Any, label: str, is_trial: bool = False
) -> Iterator[Copies]:
    """Open the video at `path`, yield `Copies` for its streams `indices`, and close the video."""
    if path is None or not indices:
        yield Copies(None, (), container, label)
        return
    with open_video(path, most_pixels=1) as source:  # the lowest limit, since no pictures are decoded
        yield Copies(source, indices, container, label, is_trial)


def copyable(path: Path, form: str, label: str) -> list[int]:
    """Return the indices of a video's streams that a container accepts, without video streams.

    `form` is FFmpeg's name of the container, and `label` is the name of the new video in messages.
    The function logs each stream that is left out, except those of `_is_kept_otherwise`.
    """
    with open_video(path, most_pixels=1) as source:
        streams = [
            (stream.index, stream.type, describe(stream))
            for stream in source.streams
            if stream.type != "video" and not _is_kept_otherwise(stream)
        ]
        covers = [
            stream for stream in source.streams.video if stream.disposition & pyav().stream.Disposition.attached_pic
        ]
    refused = {index: _refusal(path, index, kind, form, label) for index, kind, _ in streams if kind in _COPIED}
    accepted = [index for index, problem in refused.items() if problem is None]
    has_sound = any(kind == "audio" and index in accepted for index, kind, _ in streams)
    for index, kind, what in streams:
        if index not in accepted:
            rest = "the video is silent" if kind == "audio" and not has_sound else "this stream is left out"
            _log.warning("%s: it cannot hold %s; %s", label, what, rest)
    if covers:
        _log.warning("%s: the film's cover picture is left out", label)
    return accepted


def _is_kept_otherwise(stream: Any) -> bool:
    """Return whether a stream has only chapters or a timecode, which are copied in another way."""
    return stream.type == "data" and (
        "timecode" in stream.metadata or (stream.name == _CHAPTERS and bool(stream.container.chapters()))
    )


def _refusal(path: Path, index: int, kind: str, form: str, label: str) -> str | None:
    """Return why a container does not accept a stream, or None if it accepts the stream."""
    av, file = pyav(), io.BytesIO()
    try:
        with (
            av.open(file, "w", format=form) as container,
            copies(path, [index], container, label, is_trial=True) as tried,
        ):
            tried.mux_before(float("inf"))
            container.start_encoding()  # if there was no packet, nothing has started the encoding yet
        file.seek(0)
        if kind != "attachment":  # FFmpeg cannot open a file that has only attachments
            with av.open(file) as container:
                if len(container.streams) != 1:
                    return "it cannot be read back"
    except (av.error.FFmpegError, ValueError, ImageError) as error:
        return reason(error)
    return None


def describe(stream: Any) -> str:
    """Return the name of a stream in messages, with its type, codec and language."""
    context = getattr(stream, "codec_context", None)
    codec = context.codec.canonical_name if context is not None else getattr(stream, "name", None)
    language = texts(stream.metadata).get("language", "")
    name = _NAMES.get(stream.type, "a stream of an unknown type")
    return f"{name}{f' as {codec}' if codec else ''}{f' ({language})' if language not in ('', 'und') else ''}"
