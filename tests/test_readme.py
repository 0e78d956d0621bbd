"""The code in the README, and in the pages that it links to, runs on small pictures.

The commands in `ELSEWHERE` are not run here. Each of them has to be on one of the pages.
"""

from __future__ import annotations

import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_videos import write_video
from PIL import Image

import analogy
from analogy.apps.cli import cli
from analogy.networks.models import DEFAULT, locate

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
PAGES = [README, *sorted(CHECKOUT / page for page in (
    "analogy/README.md",
    "analogy/apps/README.md",
    "analogy/apps/serve/README.md",
    "analogy/backends/README.md",
    "analogy/batch/README.md",
    "analogy/films/README.md",
    "models/README.md",
    "tests/README.md",
    "tools/plugins/README.md",
))]  # fmt: skip
"""The README and the pages that it links to."""
LANGUAGES = "nginx", "ini", "yaml"
"""Languages of blocks that are files of other programs and are not run."""
SIZE = 48, 64
FRAMES = 49
ELSEWHERE = {
    "pip install": "needs a package index; `.ci/run` runs it",
    "pytest": "runs this test",
    "analogy demo": "tests/backends/test_runtime.py and `.ci/run` run it at full size",
    "analogy batch s3://bucket/jobs.parquet": "needs a store; see tests/batch/test_stores.py",
    "analogy models pull": "needs the network; see tests/networks/test_pull.py",
    "analogy info --selftest": "needs a GPU; see tests/backends/test_selftest.py",
    "analogy serve": "runs until it is stopped; see tests/apps/serve",
    "curl": "needs the service; see tests/apps/serve/test_service.py",
    "python tools/export_vgg19.py": "needs weights; see tests/networks/test_export.py",
    "python tools/distill.py": "trains for hours; see tests/tools/test_distill.py",
    "python3 -m venv": "`.ci/run` makes an environment",
    ". .venv/bin/activate": "activates the environment",
    "docker build": "needs Docker",
    "mkdir": "is for Krita; see tests/tools/test_plugins.py",
    "cp": "copies into another program; see tests/tools/test_plugins.py",
}
"""First words of commands that are not run here -> the reason, or the test that runs them."""


def blocks(text: str) -> list[str]:
    """Return the code blocks of a Markdown text in order, whether fenced or indented by four."""
    fenced = r"^```(?P<language>\w*)\n(?P<fenced>(?:.*\n)*?)```"
    indented = r"(?<=\n\n)(?P<indented>(?: {4}.*\n|\n(?= {4}))+)"
    found = [each for each in re.finditer(f"{fenced}|{indented}", text, re.M) if each["language"] not in LANGUAGES]
    return [each["fenced"] or re.sub(r"^ {4}", "", each["indented"], flags=re.M) for each in found]


def check_bibtex(block: str) -> None:
    """Check that all BibTeX entries are valid, and that the program's has the current version."""
    entries = re.findall(r"^@\w+\{\w+,\n((?: {2}\w+ += \{.+\},?\n)+)\}$", block, re.M)
    assert len(entries) == block.count("@")
    for fields in entries:
        lines = fields.splitlines()
        assert all(line.endswith("},") for line in lines[:-1]) and lines[-1].endswith("}")
        assert fields.count("{") == fields.count("}")
    assert [each for fields in entries for each in re.findall(r"version += \{(.+)\}", fields)] == [analogy.__version__]


def commands(block: str) -> list[str]:
    """Return the shell commands of a block, or none if it is Python."""
    first = block.split(maxsplit=1)[0]
    if first not in {"analogy", *(name.split()[0] for name in ELSEWHERE)}:
        return []
    lines = block.replace("\\\n", " ").splitlines()
    return [command.strip() for line in lines for command in line.split("&&") if command.strip()]


def elsewhere(command: str) -> str | None:
    return next((name for name in ELSEWHERE if f"{command} ".startswith(f"{name} ")), None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng) -> Path:
    """Return the folder in which the commands run, with the files that they name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path / "home"))
    for model in ("home/models/vgg19", "my-model"):
        shutil.copytree(locate(DEFAULT), model)
    Path("shot").mkdir()
    Path("photos").mkdir()
    for name in (
        *("a.jpg", "b.jpg", "large-a.jpg", "large-b.jpg", "photo.jpg", "another.jpg", "painting.jpg", "painting.png"),
        *("one.jpg", "two.jpg", "painted.png", "painting-of-0001.png", "first.png", "last.png"),
        *(f"shot/{index:04}.png" for index in range(1, 4)),
        *("photos/one.jpg", "photos/two.jpg"),
    ):
        picture = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(picture).save(name)
    for name in ("a", "b", "photo", "one", "two"):
        Image.fromarray(np.repeat(np.uint8([[[255, 0, 0]] * 32 + [[0, 0, 255]] * 32]), SIZE[0], axis=0)).save(
            f"{name}-labels.png"
        )
    Path("jobs.csv").write_text("a,b_prime,ratio\nphotos/one.jpg,painting.jpg,0.5\n")
    Path("pins.csv").write_text("xa,ya,xb,yb\n12,8,31,9\n")
    write_video(Path("film.mp4"), (picture for _ in range(FRAMES)), None, Fraction(24))
    return tmp_path


def run(command: str) -> None:
    """Run a command of this package, and check the files that its options name."""
    words = shlex.split(command, comments=True)
    streams = {sign: words.pop(words.index(sign) + 1) for sign in "<>" if sign in words}
    words = [word for word in words if word not in streams]
    given = Path(streams["<"]).read_bytes() if "<" in streams else None
    done = CliRunner().invoke(cli, words[1:], input=given, prog_name="analogy")
    assert done.exit_code == 0, f"{command}\n{done.output}"
    if ">" in streams:
        Path(streams[">"]).write_bytes(done.stdout_bytes)
    for sign in ("-o", "--contact", "--side-by-side"):
        if sign in words and (written := words[words.index(sign) + 1]) != "-":
            assert Path(written).exists(), command
    for name in streams.values():
        with Image.open(name) as picture:
            assert picture.size == SIZE[::-1]


def test_every_block_of_code_on_the_pages_runs(folder: Path) -> None:
    found = [(page, block) for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]
    assert sum(len(commands(block)) for _, block in found) > 20
    names = {"a": "a.jpg", "b": Path("b.jpg").read_bytes(), "labels_of_b": np.zeros(SIZE, np.uint8)}
    left = set(ELSEWHERE)
    for page, block in found:
        if block.startswith("@"):
            check_bibtex(block)
        elif not commands(block):
            exec(compile(block, str(page), "exec"), names)
        for command in commands(block):
            if name := elsewhere(command):
                left.discard(name)
            else:
                run(command)
    assert not left, "ELSEWHERE names commands that are on no page"
    assert len(names["result"].consistency()) == SIZE[0]


def test_the_readme_names_every_page_and_stays_short() -> None:
    text = README.read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"]({page.relative_to(CHECKOUT).as_posix()})" in text
    assert len(text.encode()) <= 12_000


def test_every_link_of_the_pages_leads_to_a_file_that_exists() -> None:
    for page in (*PAGES, CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:|#", link):
                assert (page.parent / link.partition("#")[0]).exists(), f"{page}: {link}"


def test_blocks_are_found_whether_fenced_or_indented() -> None:
    indented = "Words\n    that go on.\n\n    analogy one && \\\n      two\n\n    three\n\n"
    text = indented + "Words\n\n```python\nimport four\n```\n"
    assert blocks(text) == ["analogy one && \\\n  two\n\nthree\n", "import four\n"]


def test_every_message_quoted_in_troubleshooting_exists_in_the_program() -> None:
    table = README.read_text(encoding="utf-8").partition("## Troubleshooting")[2].partition("\n## ")[0]
    seen = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    quoted = [words for cell in seen for words in re.findall(r'"(.+?)"', cell)]
    assert len(quoted) > 8
    sources = "".join(path.read_text(encoding="utf-8") for path in (README.parent / "analogy").rglob("*.py"))
    of_others = {
        "externally-managed-environment",
        "No matching distribution found for onnxruntime",
        "analogy: command not found",
    }
    for words in set(quoted) - of_others:
        for part in re.split(r"'.+?'| \d+ ", words):  # names and numbers in a message vary
            assert part.strip() in sources, words
