"""Comparison with the results that the authors of the method published.

The test is skipped unless a folder with the published pairs is beside the checkout.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAIRS = ["avatar_monalisa", "portrait_engraving", "sketch_photo"]


@pytest.mark.skipif(
    not (SHARED / "quality" / "score.py").is_file(), reason="the published pairs are not beside the checkout"
)
def test_results_are_close_to_the_published_ones(tmp_path: Path) -> None:
    table = tmp_path / "rows.json"
    command = [sys.executable, SHARED / "quality" / "score.py", "--only", *PAIRS, "--json", table]
    command += ["--command", f"{sys.executable} -m analogy transfer", "--", "--device", "cpu"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(table.read_text())
    assert len(rows) == 4
    # Limits for the mean feature distance and the mean colour difference. They follow from the
    # results of the first version on all pairs. If the unchanged inputs are compared with the
    # published results, the means are 0.27 and 34.
    assert sum(row["feat"] for row in rows) / len(rows) <= 0.165
    assert sum(row["dE"] for row in rows) / len(rows) <= 11
