"""Download of a published model, and conversion of weight files to models.

`pull` reads the weights in a file only after comparing the file's checksum with the published
checksum. A model appears in the cache completely or not at all: a process makes it in a scratch
folder, and then moves it to its place in one step. The process locks its scratch folder. So any
number of processes can pull models at the same time, and the next pull deletes the scratch folder
of a killed process. Download and conversion need the extra `export`. Downloads go through
the proxy in the environment variable HTTPS_PROXY, except to the hosts in NO_PROXY.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ModelError, OutputError, first_line, printable, reason
from ..files.folders import make_folder
from ..files.temporary import scratch_folder
from .cards import Card
from .models import cache, installed, shipped, verify
from .published import PUBLISHED, Published, PublishedFile, digest, identify, published

TIMEOUT = 30.0
"""Longest time to wait for a server's answer or for its next bytes, in seconds."""


def pull(name: str, source: Path | None = None, *, progress: Any = False) -> Path:
    """Download and convert a published model, unless a complete model is installed already.

    Parameters
    ----------
    name : str
        Name of the model (see `published.PUBLISHED`).
    source : Path, optional
        The published file, if it was downloaded by hand.
    progress : bool or object
        True for a bar on standard error, or an object with `total`, `update(n)`, `reset()` and
        `close()`, such as a bar of tqdm.

    Returns
    -------
    Path
        Folder of the model.

    Raises
    ------
    ModelError
        If the model is unknown, the source is not its published file, or no address delivers it.
    OutputError
        If the cache cannot be written to, for instance because the disk is full.
    """
    if name in installed() and installed()[name].parent == shipped():
        return installed()[name]
    model, folder = published(name), cache() / name
    given = None if source is None else (_published_file(Path(source), name, model), Path(source))
    if _is_whole(folder):
        return folder
    if source is not None and folder.resolve() in Path(source).resolve().parents:
        raise ModelError(f"{source} is in {folder}, which the model will replace; move the file elsewhere")

    from .export import export  # both imports need the extra `export`
    from .weights import read

    try:
        with scratch_folder(make_folder(cache())) as scratch:
            file, path = given or _download(name, model, scratch, progress)
            network, _ = read(path)
            export(network, scratch / "new", _card(name, name, file, network.widths))
            _install(scratch, folder)
    except OSError as error:  # `OutputError` is an `OSError`
        raise OutputError(
            f"{folder} cannot be written: {reason(error.__cause__ or error)}; free some disk space, or set "
            "ANALOGY_HOME to another folder"
        ) from error
    return folder


def convert(path: Path, folder: Path, name: str | None = None, preprocessing: str | None = None) -> Card:
    """Convert a file of weights to a model, and return its card.

    Parameters
    ----------
    path : Path
        A file that `weights.read` can read.
    folder : Path
        Folder for the model, which must be new or empty.
    name : str, optional
        Name of the model. By default it is the name of the published model if the file is a
        published file and `preprocessing` is None, else the name of the folder.
    preprocessing : str, optional
        A key of `weights.PREPROCESSING`, or None (see `weights.read`).

    Returns
    -------
    Card
        Card of the model. Unless the file is a published file and `preprocessing` is None, the card
        says that the training of the weights is not known.

    Raises
    ------
    ModelError
        If the file cannot be converted.
    OutputError
        If the folder cannot be written to.
    """
    from .export import export
    from .weights import read

    path, folder = Path(path), Path(folder)
    network, kind = read(path, preprocessing)
    origin = identify(path) if preprocessing is None else None
    if origin:
        card = _card(printable(name or origin[0]), origin[0], origin[1], network.widths)
    else:
        card = Card(
            printable(name or folder.name),
            f"{network.architecture} from a {kind} file that is not a published one; its training is not known",
            network.widths,
            f"{printable(path.name)} (sha256 {digest(path, 'sha256')}), {preprocessing or 'usual'} preprocessing",
            "that of the weights, which is not known",
        )
    export(network, folder, card)
    return card


def _card(name: str, published_as: str, file: PublishedFile, widths: tuple[int, ...]) -> Card:
    """Return the card of a published model."""
    model = PUBLISHED[published_as]
    return Card(name, model.description, widths, file.describe(), model.licence)


def _is_whole(folder: Path) -> bool:
    """Return whether a folder has a model whose files all match the checksums in its card."""
    try:
        verify(folder)
    except ModelError:
        return False
    return True


def _published_file(path: Path, name: str, model: Published) -> PublishedFile:
    """Return the published file of a model that equals the file at `path`.

    Raises `ModelError` if it equals none of them, or cannot be read.
    """
    try:
        found = identify(path, (name,))
        if found:
            return found[1]
        is_now = f"{path.stat().st_size} bytes, sha256 {digest(path, 'sha256')}"
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}; name the file that you downloaded") from error
    expected = " or ".join(file.describe() for file in model.files)
    raise ModelError(
        f"{path} is not a published file of {name}: it has {is_now}; expected {expected}. If it is damaged, download "
        "it again; to use other weights, convert them with tools/export_vgg19.py"
    )


def _download(name: str, model: Published, scratch: Path, progress: Any) -> tuple[PublishedFile, Path]:
    """Download one of the model's files, and return its description and its path.

    The files and their addresses are tried in order, until a download has the right checksum.
    Raises `ModelError` if no download has it.
    """
    try:
        import requests
        from pooch import HTTPDownloader
    except ImportError as error:
        advice = 'pip install "deep-image-analogy[export]"'
        raise ModelError(f'downloading a model needs the package "pooch": {advice}') from error

    failures = []
    for file in model.files:
        for url in file.urls:
            path = scratch / file.name
            try:
                if hasattr(progress, "reset"):
                    progress.reset()
                    progress.total = 1  # pooch evaluates bool(bar), which fails in tqdm without a total
                HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=TIMEOUT)(url, str(path), None)
                wrong = file.mismatch(path)
                if not wrong:
                    return file, path
                failures.append(f"{url}: {wrong}")
            except requests.RequestException as error:
                failures.append(f"{url}: {_reason(error)}")
            path.unlink(missing_ok=True)
    addresses = [file.by_hand or file.urls[0] for file in model.files]
    raise ModelError(
        f"{name} cannot be downloaded ({'; '.join(failures)}). Check the connection and HTTPS_PROXY, or download "
        f"{' or '.join(addresses)} elsewhere and run: analogy models pull {name} --from FILE"
    )


def _reason(error: BaseException) -> str:
    """Return the HTTP status of a failed request, or else the innermost cause of the failure."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or first_line(error)


def _install(scratch: Path, folder: Path) -> None:
    """Move the model in `scratch`/new to `folder`.

    If `folder` has a damaged model, it is replaced. If another process has just moved a complete
    model to `folder`, that model is kept.
    """
    if folder.exists() and not _is_whole(folder):
        with suppress(OSError):  # another process may have moved it already
            folder.replace(scratch / "old")
    try:
        (scratch / "new").replace(folder)
    except OSError:
        if not _is_whole(folder):
            raise
