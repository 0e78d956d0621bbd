"""Page about a batch: one HTML file with thumbnails, links to the results, and the failed jobs."""

from __future__ import annotations

import dataclasses
import html
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..files.atomic import atomic
from ..files.inputs import open_regular
from ..settings import Settings
from . import stores
from .jobs import Job

MOST_SHOWN = 400
"""Maximum number of jobs whose pictures the page shows.

If a batch has more jobs, the page shows the pictures of every n-th job.
"""
MOST_FAILURES = 1000
"""Maximum number of failed jobs that the page lists. Further failed jobs are not listed."""
_CELL = 125
"""Minimum width of the space for a picture, in CSS pixels, except in a narrower window."""
_REFRESH = 30.0
"""Shortest time between two writings of the page while the batch runs, in seconds."""
_SETTINGS = dataclasses.fields(Settings)

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0 0 .2rem; }}
h2 {{ font-size: 1.05rem; margin: 2rem 0 .6rem; }}
p {{ margin: .2rem 0; }}
.quiet {{ opacity: .7; }}
.failed {{ color: light-dark(#b3261e, #ff8a80); }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ border-top: 1px solid #8884; padding: .35rem .6rem .35rem 0; vertical-align: top; overflow-wrap: anywhere; }}
td:first-child {{ white-space: nowrap; }}
.sheet {{ display: grid; gap: 1.2rem 1rem; \
grid-template-columns: repeat(auto-fill, minmax(min(100%, {width}px), 1fr)); }}
figure {{ margin: 0; min-width: 0; }}
.row {{ align-items: end; display: flex; gap: 4px; }}
.row > * {{ flex: 1 1 0; min-width: 0; }}
img {{ display: block; height: 130px; object-fit: contain; object-position: bottom left; width: 100%; }}
.style {{ align-items: end; display: flex; flex-wrap: wrap; gap: 1rem; }}
.style figure {{ max-width: 400px; }}
.style img {{ height: auto; max-height: 130px; width: auto; }}
figcaption {{ font-size: .85rem; margin-top: .25rem; overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1>
<p>{counts}</p>
<p class="quiet">{how}</p>
<p class="quiet">{settings}</p>
{body}
</html>
"""


def is_report(path: Path) -> bool:
    """Return whether a file begins like a page about a batch; False if it cannot be read."""
    beginning = _PAGE.partition("{title}")[0].encode()
    try:
        with open_regular(path) as file:
            return file.read(len(beginning)) == beginning
    except OSError:
        return False


class Report:
    """Page about a batch, to which each job is added when it has ended.

    Parameters
    ----------
    path : Path
        The path of the page.
    root : str
        The folder for results, as an absolute path or an address.
    total : int
        The number of jobs.
    title : str
        The title of the page.
    how : str
        A line that names the model and the device.
    """

    def __init__(self, path: Path, root: str, total: int, title: str, how: str):
        self._path, self._root, self._title, self._how = path, root, title, how
        self._step = -(-total // MOST_SHOWN)
        self._total, self._done, self._failed, self._kept = total, 0, 0, 0
        self._cards: dict[int, tuple[Job, dict[str, Any]]] = {}
        self._failures: list[tuple[str, str]] = []
        self._written = time.monotonic()

    def shows(self, number: int) -> bool:
        """Return whether the page shows the pictures of the job `number` if the job succeeds."""
        return (number - 1) % self._step == 0

    def add(self, job: Job, line: dict[str, Any], kept: bool) -> None:
        """Add a job that has ended, with its line of the manifest.

        `kept` is true if the job ended in an earlier run.
        """
        if line["state"] == "failed":
            self._failed += 1
            if len(self._failures) < MOST_FAILURES:
                self._failures.append((job.name, line["error"]))
            return
        self._done, self._kept = self._done + 1, self._kept + kept
        if self.shows(job.number):
            self._cards[job.number] = job, line

    def write(self, ends: bool = False) -> None:
        """Write the page if it was last written at least 30 seconds ago, or if `ends` is true.

        The first 30 seconds begin when this object is made. `ends` is true at the end of the batch.
        Raises `OutputError` if the page cannot be written.
        """
        if not ends and time.monotonic() < self._written + _REFRESH:
            return
        with atomic(self._path) as file:
            file.write(self._page().encode("utf-8", "backslashreplace"))
        self._written = time.monotonic()

    def _page(self) -> str:
        """Return the HTML of the page."""
        styles = {tuple(job.request.examples) for job, _ in self._cards.values()}
        one_style = len(styles) == 1 and self._step * len(self._cards) > 1
        ended = self._done + self._failed
        counts = [f"{self._done} of {self._total} done"]
        if self._kept:
            counts.append(f"{self._kept} of them in an earlier run")
        if ended < self._total:
            counts.append(f"{self._total - ended} left")
        words = html.escape(", ".join(counts))
        if self._failed:
            words += f', <span class="failed">{self._failed} failed</span>'
        parts = []
        if self._failures:
            shown = "" if len(self._failures) == self._failed else f" (the first {len(self._failures)})"
            rows = "".join(f"<tr><td>{html.escape(n)}<td>{html.escape(error)}" for n, error in self._failures)
            parts.append(f"<h2>Failed{shown}</h2>\n<table>{rows}</table>")
        if one_style:
            job, line = next(iter(self._cards.values()))
            figures = "\n".join(
                f"<figure>{_image(line, key)}<figcaption>{html.escape(path)}</figcaption></figure>"
                for key, path in _styles(job).items()
            )
            title = "Style" if len(_styles(job)) == 1 else "Styles"
            parts.append(f'<h2>{title}</h2>\n<div class="style">{figures}</div>')
        each = self._settings_of_each()
        if self._cards:
            every = f" (one job in {self._step})" if self._step > 1 else ""
            cards = "\n".join(self._card(*self._cards[number], one_style, each) for number in sorted(self._cards))
            parts.append(f'<h2>Pictures{every}</h2>\n<div class="sheet">\n{cards}\n</div>')
        return _PAGE.format(
            title=html.escape(self._title),
            counts=words,
            how=html.escape(self._how),
            settings=html.escape(self._settings(each)),
            body="\n".join(parts),
            width=_CELL
            * max((len(self._cells(job, line, one_style)) for job, line in self._cards.values()), default=1),
        )

    def _settings_of_each(self) -> list[str]:
        """Return the names of the settings in which the shown jobs differ."""
        values = [dataclasses.astuple(job.request.settings) for job, _ in self._cards.values()]
        return [
            field.name for field, own in zip(_SETTINGS, zip(*values, strict=True), strict=False) if len(set(own)) > 1
        ]

    def _settings(self, each: Collection[str]) -> str:
        """Return a line of text with the settings that have the same value in all shown jobs.

        Settings with their default values are left out. `each` has the names of the settings in
        which the jobs differ. The line names these, too, and the page shows their values below each
        job.
        """
        if not self._cards:
            return ""
        job, _ = next(iter(self._cards.values()))
        shared = [
            f"{field.name} {value}"
            for field in _SETTINGS
            if field.name not in each and (value := getattr(job.request.settings, field.name)) != field.default
        ]
        said = shared + ([f"the jobs differ in {', '.join(each)}"] if each else [])
        return f"Settings: {', '.join(said)}; all others have their defaults" if said else "Settings: the defaults"

    def _card(self, job: Job, line: dict[str, Any], one_style: bool, each: Collection[str]) -> str:
        """Return the HTML of a job: thumbnails, and below them text.

        The text has links to the results, the seconds that the job took, and the settings `each`.
        """
        cells = self._cells(job, line, one_style)
        names = " ".join(_linked(html.escape(name), self._of_output(name)) for name in job.outputs.values())
        own = "".join(f", {name} {getattr(job.request.settings, name)}" for name in each)
        words = f"{line.get('seconds', 0):.1f} s{html.escape(own)}"
        return (
            f'<figure><div class="row">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'
            f'<figcaption>{names} <span class="quiet">{words}</span></figcaption></figure>'
        )

    def _cells(self, job: Job, line: dict[str, Any], one_style: bool) -> list[str]:
        """Return the HTML of each thumbnail: A, the results and, unless `one_style`, each B'."""
        cells = [_linked(_image(line, "a"), job.inputs["a"])]
        cells += [_linked(_image(line, made), self._of_output(name)) for made, name in job.outputs.items()]
        if not one_style:
            cells += [_linked(_image(line, key), path) for key, path in _styles(job).items()]
        return cells

    def _of_output(self, name: str) -> str:
        """Return the target of a link to a result; `name` is its path in the folder for results."""
        return f"{self._root.rstrip('/')}/{name}" if stores.scheme(self._root) else name


def _styles(job: Job) -> dict[str, str]:
    """Return a dict of the examples B' of a job: column of a table -> path or address."""
    return {each.key: each.value for each in job.request.inputs() if each.name == "b_prime"}


def _image(line: Mapping[str, Any], name: str) -> str:
    """Return the HTML of the thumbnail `name` in a line of the manifest, or "" if there is none."""
    content = line.get("thumbnails", {}).get(name)
    return f'<img alt="{name}" src="data:image/webp;base64,{html.escape(str(content))}">' if content else ""


def _linked(content: str, target: str) -> str:
    """Return `content` as a link if a browser can open the target, otherwise unchanged."""
    scheme = stores.scheme(target)
    if scheme in ("http", "https"):
        return f'<a href="{html.escape(target)}">{content}</a>'
    if scheme:
        return content
    path = Path(target)
    return f'<a href="{path.as_uri() if path.is_absolute() else quote(target)}">{content}</a>'
