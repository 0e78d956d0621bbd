"""Pull a published model: download its weights, or take a file, check it, convert it, and put the model into the cache.

No file is opened before its checksum matches the published one. A model appears in the cache whole
or not at all, by one renaming. Until then all work is done in a scratch folder that this process
has locked, so that any number of processes can pull at once, and the next pull deletes what a
killed one left. Needs the extra `export`. Downloads go through the proxies of the environment
(HTTPS_PROXY, NO_PROXY ..).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ModelError, OutputError, first_line, reason
from ..files.folders import make_folder
from ..files.temporary import scratch_folder
from .cards import Card
from .models import cache, installed, shipped, verify
from .published import PUBLISHED, Published, PublishedFile, digest, identify, published

TIMEOUT = 30.0
"""Time in seconds that a server may take to answer, or to send the next bytes."""


def pull(name: str, source: Path | None = None, *, progress: Any = False) -> Path:
    """Make the published model `name` available. Returns its folder. Does nothing if it is there and complete.

    `source`: the published file, downloaded by hand, in place of a download. `progress`: True for a
    bar on standard error, or an object with `total`, `update(n)`, `reset()` and `close()` such as
    tqdm's.

    Raises `ModelError` for an unknown model, a file that is not the published one, or when no
    address delivers it; `OutputError` if the cache cannot be written, on a full disk for instance.
    """
    if name in installed() and installed()[name].parent == shipped():
        return installed()[name]
    model, folder = published(name), cache() / name
    given = None if source is None else (_published_file(Path(source), name, model), Path(source))
    if _is_whole(folder):
        return folder
    if source is not None and folder.resolve() in Path(source).resolve().parents:
        raise ModelError(f"{source} lies in {folder}, which the model takes the place of; move the file elsewhere")

    from .export import export  # these need the extra `export`
    from .weights import read

    try:
        with scratch_folder(make_folder(cache())) as scratch:
            file, path = given or _download(name, model, scratch, progress)
            network, _ = read(path)
            export(network, scratch / "new", _card(name, name, file, network.widths))
            _install(scratch, folder)
    except OSError as error:  # an `OutputError` among them
        raise OutputError(
            f"{folder} cannot be written: {reason(error.__cause__ or error)}; make room, or set ANALOGY_HOME to another folder"
        ) from error
    return folder


def convert(path: Path, folder: Path, name: str | None = None, preprocessing: str | None = None) -> Card:
    """Convert any file of weights that `weights.read` reads to a model in `folder`, which must be new or empty.

    `name`: the model's; by default that of the published model, if the file is of one, else that of
    the folder. `preprocessing`: as for `weights.read`. Returns the card. If the file is not a
    published one, the card says that the training is not known.

    Raises `ModelError` for a file that cannot be converted, `OutputError` if the folder cannot be
    written.
    """
    from .export import export
    from .weights import read

    path, folder = Path(path), Path(folder)
    network, kind = read(path, preprocessing)
    origin = identify(path) if preprocessing is None else None
    if origin:
        card = _card(name or origin[0], origin[0], origin[1], network.widths)
    else:
        card = Card(
            name or folder.name,
            f"{network.architecture} from a {kind} file that is not a published one; its training is not known",
            network.widths,
            f"{path.name} (sha256 {digest(path, 'sha256')}), {preprocessing or 'usual'} preprocessing",
            "that of the weights, which is not known",
        )
    export(network, folder, card)
    return card


def _card(name: str, published_as: str, file: PublishedFile, widths: tuple[int, ...]) -> Card:
    model = PUBLISHED[published_as]
    return Card(name, model.description, widths, file.describe(), model.licence)


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
    except ModelError:
        return False
    return True


def _published_file(path: Path, name: str, model: Published) -> PublishedFile:
    """Find which of the model's files `path` is. Raises `ModelError` if it is none of them or cannot be read."""
    try:
        found = identify(path, (name,))
        if found:
            return found[1]
        is_now = f"{path.stat().st_size} bytes, sha256 {digest(path, 'sha256')}"
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}; name the file that you downloaded") from error
    expected = " or ".join(file.describe() for file in model.files)
    raise ModelError(
        f"{path} is no published file of {name}: it has {is_now}; expected {expected}. It may be damaged: download it "
        "again; weights of your own are converted by tools/export_vgg19.py"
    )


def _download(name: str, model: Published, scratch: Path, progress: Any) -> tuple[PublishedFile, Path]:
    """Fetch the first of the model's files that any of its addresses delivers with the right checksum."""
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
                    progress.total = (
                        1  # pooch asks whether the bar is true: to tqdm's, without a total, that is an error
                    )
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
    """Return the innermost cause of a failed request, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or first_line(error)


def _install(scratch: Path, folder: Path) -> None:
    """Move the model in `scratch`/new into its place, where a damaged one may lie, or one that another process made."""
    if folder.exists() and not _is_whole(folder):
        with suppress(OSError):  # another process may be moving it, too
            folder.replace(scratch / "old")
    try:
        (scratch / "new").replace(folder)
    except OSError:
        if not _is_whole(folder):
            raise
