"""Access to the files of a batch, on this machine or at an address ("s3://bucket/a.jpg").

Addresses need fsspec (the extra `remote`). It takes the credentials for a store from environment
variables, from the configuration files of the store, or from the role that the cloud has given to
the machine.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from ..errors import AnalogyError, OutputError, SettingsError, reason
from ..files.atomic import atomic
from ..files.folders import make_folder
from ..files.inputs import open_regular, read_regular
from ..pictures import listing
from ..pictures.reading import MOST_BYTES

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_WHOLE_OBJECTS = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2", "memory"))
"""Schemes of stores in which an object appears only after all of it has arrived.

In other stores a file is written under a temporary name, and then renamed.
"""
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "LastModified", "last_modified",
          "Last-Modified", "mtime", "updated")  # fmt: skip
"""Keys under which stores report values that change when a file changes."""


def scheme(path: str) -> str:
    """Return the scheme of an address in lower case, or "" for a path of this machine.

    A single letter is a drive of Windows, not a scheme.
    """
    found = _SCHEME.match(path)
    return found[1].lower() if found else ""


def absolute(path: str, folder: str) -> str:
    """Return `path` as an absolute path or an address. A relative path starts at `folder`.

    `folder` is a path or an address. An address that begins with "file://" becomes a path of this
    machine. Raises `SettingsError` for an absolute path if `folder` is an address. Also raises it
    for a chain of file systems ("zip://a::https://..."), because the first scheme of a chain does
    not show which server the file comes from.
    """
    if scheme(path) == "file":
        from urllib.request import url2pathname  # the module takes long to load

        path = url2pathname(path[7:])
    if scheme(path):
        if "::" in path:
            raise SettingsError(f"{path} is a chain of file systems; give the address of a single file")
        return path
    if scheme(folder):
        if not path.startswith("/"):
            return f"{folder.rstrip('/')}/{path}"
        raise SettingsError(f"{path} is a path of this machine, but the table is at {folder}; give an address")
    path = os.path.join(folder, path)  # noqa: PTH118
    # After a symbolic link, ".." means the parent of the folder to which the link leads.
    return path if os.pardir in path.split(os.sep) else os.path.normpath(path)  # noqa: PTH206


def parent(path: str) -> str:
    """Return the folder of a path or an address."""
    return posixpath.dirname(path) if scheme(path) else os.path.dirname(path)  # noqa: PTH120


def stem(path: str) -> str:
    """Return the name of a file without its folder, its suffix and the query of its address."""
    name = unquote(posixpath.basename(path.partition("?")[0])) if scheme(path) else os.path.basename(path)  # noqa: PTH119
    return posixpath.splitext(name)[0]  # a `Path` takes ten times as long, and there can be a million rows


def read(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file.

    Raises `OSError` if the file cannot be read, or has more than `most` bytes.
    """
    if not scheme(path):
        return read_regular(path, most)
    with _as_os_errors(), _open(path) as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return content


def open_file(path: str) -> IO[bytes]:
    """Open a file for reading, and return it. Raises `OSError` if it cannot be opened."""
    if not scheme(path):
        return open_regular(path)
    with _as_os_errors():
        return _open(path)


def stamp(path: str) -> str:
    """Return a string that changes when the file changes, or "" if its store reports no such value.

    The content of the file is not read. Raises FileNotFoundError if there is no such file, and
    another OSError if the store cannot be reached.
    """
    if not scheme(path):
        status = os.stat(path)  # noqa: PTH116
        return f"{status.st_size} {status.st_mtime_ns}"
    info = _info(path)
    marks = [str(info[mark]) for mark in _MARKS if info.get(mark)]
    return " ".join([str(info.get("size")), *marks]) if marks else ""


def size(path: str) -> int | None:
    """Return the size of a file in bytes, or None if it does not exist or the size is unknown."""
    try:
        return os.stat(path).st_size if not scheme(path) else _info(path).get("size")  # noqa: PTH116
    except FileNotFoundError:
        return None


def write(path: str, content: bytes) -> None:
    """Write a file, and make its folders. Raises `OutputError` if that is not possible.

    The file appears only when it is complete, except in a store that renames files by copying them.
    """
    if not scheme(path):
        target = Path(path)
        if not os.path.isdir(target.parent):  # noqa: PTH112 (a `Path` raises for a name that is too long)
            _prepare.cache_clear()
        _prepare(target.parent)
        with atomic(path) as file:
            file.write(content)
        return
    try:
        with _as_os_errors():
            store, inner = _store(path)
            if scheme(path) in _WHOLE_OBJECTS:
                store.pipe_file(inner, content)
                return
            folder = inner.rpartition("/")[0]
            store.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/.analogy-{uuid.uuid4().hex}.tmp"
            try:
                store.pipe_file(temporary, content)
                _replace(store, temporary, inner)
            except BaseException:
                if store.exists(temporary):
                    store.rm_file(temporary)
                raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason(error)}); check the address, and your permission to write there"
        ) from error


def _replace(store: Any, temporary: str, path: str) -> None:
    """Rename the file `temporary` of a store to `path`, where there may be a file already.

    A file at `path` is deleted first in a store that does not replace files. Some of these stores
    raise an error, and others leave both files as they are.
    """
    try:
        store.mv(temporary, path)
    except Exception:  # each store has its own exceptions
        if not store.exists(path):
            raise
    if store.exists(temporary):
        store.rm_file(path)
        store.mv(temporary, path)


@lru_cache(maxsize=256)
def _prepare(folder: Path) -> None:
    """Call `make_folder` once for each folder, since it lists the folder, which may be long."""
    make_folder(folder)


def names(root: str) -> Iterator[str]:
    """Yield the path of each file below a folder at an address, relative to that folder.

    Raises `OutputError` if the folder cannot be listed.
    """
    try:
        with _as_os_errors():
            store, inner = _store(root)
            found = store.find(inner)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{root} cannot be listed ({reason(error)}); check the address, and your permission to list it"
        ) from error
    yield from (name[len(inner.rstrip("/")) + 1 :] for name in found)


def pictures(path: str) -> list[str]:
    """Return the pictures in a folder, the files that match a pattern, or the path of a picture.

    The address of a folder ends with "/". A path that is neither a folder nor a pattern is taken
    for a picture, even if there is no file. Pictures are sorted by name, with numbers in the names
    sorted by value. Raises `OSError` if the folder or the store cannot be read.
    """
    if not scheme(path):
        if os.path.isdir(path):  # noqa: PTH112 (a `Path` raises for a name that is too long)
            return listing.pictures_in(path)
        if listing.is_pattern(path):
            return [name for name in listing.matching(path) if Path(name).is_file()]
        return [path]
    with _as_os_errors():
        store, inner = _store(path)
        if has_magic(path.partition("?")[0] if scheme(path) in ("http", "https") else path):
            if store.exists(inner):
                return [path]
            return [store.unstrip_protocol(name) for name in listing.matching(inner, store.glob, store.exists)]
        if not path.endswith("/"):
            return [path]
        found = {store.unstrip_protocol(entry["name"]): entry["type"] for entry in store.ls(inner, detail=True)}
        files = [name for name, kind in found.items() if kind == "file"]
        return listing.pictures_among(path, files, [name for name in found if name not in files], _open)


def check(path: str) -> None:
    """Raise `SettingsError` if no installed package can reach an address."""
    if scheme(path):
        _store(path)


def _store(path: str) -> tuple[Any, str]:
    """Return the file system of fsspec for an address, and the path in that file system."""
    try:
        from fsspec.core import url_to_fs

        store, inner = url_to_fs(path)
    except ImportError as error:
        raise SettingsError(
            f'{path}: {scheme(path)}:// needs the extra "remote" (pip install "deep-image-analogy[remote]") or another '
            f"package with which fsspec reaches that store ({reason(error)})"
        ) from error
    except ValueError as error:
        raise SettingsError(f"{path}: fsspec does not support this address ({reason(error)}); correct it") from error
    return store, inner


def _open(path: str) -> IO[bytes]:
    """Open a file at an address for reading, and return it."""
    store, inner = _store(path)
    return io.BufferedReader(store.open(inner, "rb"))  # the `readline` of some stores' files takes no limit


def _info(path: str) -> dict[str, Any]:
    """Return what a store reports about a file, as a dict."""
    with _as_os_errors():
        store, inner = _store(path)
        info: dict[str, Any] = store.info(inner)
        return info


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn the errors of stores, which are of many types, into `OSError`."""
    try:
        yield
    except (OSError, AnalogyError):
        raise
    except Exception as error:
        raise OSError(errno.EIO, reason(error)) from error
