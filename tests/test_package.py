"""What a package index shows of the package: its README, away from the repository."""

import re
from importlib.metadata import distribution
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[.*?\]\((.+?)\)")


def test_links_of_the_published_readme_are_absolute_and_name_files_that_exist() -> None:
    shown = distribution("deep-image-analogy").read_text("METADATA") or ""
    [homepage] = re.findall(r"^Project-URL: Homepage, (.+)$", shown, re.MULTILINE)
    links = LINK.findall(shown)
    assert len(links) == len(LINK.findall((CHECKOUT / "README.md").read_text(encoding="utf-8"))) > 3
    for picture, link in links:
        assert link.startswith("https://"), link
        if link.startswith(homepage):
            kind = "raw" if picture else "blob"  # `blob` is a page about the file, `raw` the file itself
            assert link.startswith(f"{homepage}/{kind}/main/"), link
            assert (CHECKOUT / link.removeprefix(f"{homepage}/{kind}/main/")).is_file(), link


def test_every_promise_of_the_readme_names_a_test_that_exists() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (CHECKOUT / file).read_text(encoding="utf-8"), f"{file}::{test}"
