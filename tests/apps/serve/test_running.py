"""The commands and files in the documentation about running the service."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from analogy.apps.serve.command import serve
from analogy.apps.serve.limits import Limits
from analogy.backends import MOST_THREADS
from analogy.engine_arguments import EngineArguments
from analogy.errors import AnalogyError
from analogy.networks.models import locate

ROOT = Path(__file__).parents[3]
README = (ROOT / "analogy" / "apps" / "serve" / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "tools" / "Dockerfile").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)
    return found


def taken(words: list[str]) -> dict[str, object]:
    """Return the options of `analogy serve` for these arguments; raise for an unknown one."""
    return dict(serve.make_context("serve", list(words)).params)


def test_the_systemd_unit_uses_existing_options() -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini"))
    program, command, *options = shlex.split(unit["Service"]["ExecStart"])
    assert (program, command) == ("/opt/analogy/bin/analogy", "serve")
    assert taken(options)["root_path"] == "/analogy"
    assert unit["Service"]["KillMode"] == "mixed"  # otherwise the signal would end the workers and their jobs
    assert int(unit["Service"]["TimeoutStopSec"]) > float(str(taken([])["grace"])) + 10


def test_compose_and_the_image_use_existing_options() -> None:
    yaml = pytest.importorskip("yaml")
    [service] = yaml.safe_load(block("yaml"))["services"].values()
    [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.M)
    program, command, *options = json.loads(entry)
    assert (program, command) == ("analogy", "serve")
    given = taken([*options, *service["command"]])
    assert given["host"] == "0.0.0.0"
    assert service["ports"] == [f"127.0.0.1:8000:{given['port']}"]
    assert f"127.0.0.1:{given['port']}/health" in DOCKERFILE
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] and service["tmpfs"] == ["/tmp"]


def test_the_image_copies_existing_files_and_runs_without_privileges() -> None:
    for sources in re.findall(r"^COPY (.+) /source/\S*$", DOCKERFILE, re.M):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == ["10001:10001"]
    assert DOCKERFILE.index("USER 10001") < DOCKERFILE.index("analogy demo") < DOCKERFILE.index("ENTRYPOINT")


def started(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Limits, EngineArguments]:
    """Return the limits and the arguments of the engine with which `analogy serve` begins."""
    made: list[tuple[Limits, EngineArguments]] = []

    def record(limits: Limits, engine: EngineArguments, *rest: object) -> None:
        made.append((limits, engine))
        raise AnalogyError("that is enough")

    monkeypatch.setattr("analogy.apps.serve.service.Service", record)
    with pytest.raises(AnalogyError, match="that is enough"):
        serve.main(list(words), standalone_mode=False)
    return made[0]


@pytest.mark.skipif(os.name != "posix", reason="makes a symbolic link")
@pytest.mark.parametrize("path", ["./vgg16-compact", "vgg16-compact/"])
def test_a_path_stays_the_path_of_a_model_even_if_a_model_has_this_name(path: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16-compact").symlink_to(locate("vgg16-compact"))
    assert locate(started(monkeypatch, "--model", path)[1].model) == tmp_path / "vgg16-compact"
    assert locate(started(monkeypatch, "--model", "vgg16-compact")[1].model) == locate("vgg16-compact")


def test_a_worker_gets_no_more_threads_than_an_engine_may_have(monkeypatch) -> None:
    monkeypatch.setattr("analogy.apps.serve.command.available_cores", lambda: 384)
    assert started(monkeypatch)[1].threads == MOST_THREADS
    assert started(monkeypatch, "--workers", "2")[1].threads == 192


def test_a_wrong_limit_of_pixels_reaches_the_engine_which_refuses_it(monkeypatch) -> None:
    assert started(monkeypatch, "--max-input-pixels", "0")[1].max_input_pixels == 0


def test_the_page_states_the_limits_of_the_service() -> None:
    limits = Limits()
    for words in (
        f"| {limits.connections}, or",
        f"and {limits.head_seconds:g} seconds |\n| request",
        f"`--upload-mb`, {limits.upload_seconds:g} seconds",
        f"| {limits.form_bytes >> 10} kB and {limits.head_seconds:g} seconds",
        f"job | {limits.reading_seconds:g} seconds",
        f"nothing of an answer | {limits.stall_seconds:g} seconds",
        f"{limits.keep_jobs} jobs",
    ):
        assert words in README, words
