"""Tests that a tool whose extra is not installed names the extra in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize("missing", ["torch", "safetensors"])
def test_distill_without_its_extra_names_it_in_one_line(missing: str) -> None:
    code = f"""
import runpy, sys
sys.modules[{missing!r}] = None
sys.argv = ["distill.py", "--help"]
sys.path.insert(0, {str(TOOLS)!r})
runpy.run_path({str(TOOLS / "distill.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'this tool needs the extra "distill": pip install' in done.stderr
    assert done.stderr.count("\n") == 1
