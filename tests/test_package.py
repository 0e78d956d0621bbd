"""Every promise in tests/README.md names a test that exists."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def test_every_promise_names_a_test_that_exists() -> None:
    page = (CHECKOUT / "tests" / "README.md").read_text(encoding="utf-8")
    table = page.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (CHECKOUT / file).read_text(encoding="utf-8"), f"{file}::{test}"
