"""The command `analogy`. Its options for a transfer are made from the fields of `Settings`."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import __version__
from .errors import AnalogyError
from .models import DEFAULT
from .settings import PRESETS, Settings

BAD_INPUT = 2
"""Exit code for what the user can mend; the same as for a wrong option."""
INTERRUPTED = 130


class _EchoHandler(logging.Handler):
    """What the library logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"analogy: {record.getMessage()}", err=True)


class _Group(click.Group):
    """Turns the package's own errors into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except AnalogyError as error:
            click.echo(f"analogy: {error}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="analogy")
def cli() -> None:
    """Image analogies: the photo in the looks of the painting, the painting in the looks of the photo.

    Given two pictures A and B', finds A' (A in the looks of B') and B (B' in the looks of A).
    """
    logger = logging.getLogger("analogy")
    if not logger.handlers:
        logger.addHandler(_EchoHandler())
        logger.setLevel(logging.INFO)


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each field of `Settings`; unset options stay None, so that a preset can show through."""
    for field in reversed(dataclasses.fields(Settings)):
        meta = field.metadata
        kind = click.Choice([str(c) for c in meta["choices"]]) if meta["choices"] else type(field.default)
        command = click.option(
            "--" + field.name.replace("_", "-"),
            field.name,
            type=kind,
            help=f"{meta['help']}  [default: {field.default}]",
        )(command)
    return click.option("--preset", type=click.Choice(list(PRESETS)), help="A set of settings; single options go before it.")(
        command
    )


def _engine_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: one per core]"),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                     help="Where to compute; auto takes CUDA where it works."),
        click.option("--model", default=DEFAULT, show_default=True, help="A model's name, or the folder of one."),
    ):  # fmt: skip
        command = option(command)
    return command


def _settings(preset: str | None, options: dict[str, Any]) -> Settings:
    chosen = {name: value for name, value in options.items() if value is not None}
    for field in dataclasses.fields(Settings):
        if field.metadata["choices"] and field.name in chosen:
            chosen[field.name] = type(field.default)(chosen[field.name])
    return Settings.preset(preset, **chosen) if preset else Settings(**chosen)


def _run(a: Any, b_prime: Any, output: Path, settings: Settings, model: str, device: str, threads: int | None) -> None:
    """Transfer with a progress bar (quiet where standard error is no terminal), save, and say where the results are."""
    from tqdm import tqdm

    from .engine import Engine
    from .output import prepare_folder

    output = prepare_folder(output)
    engine = Engine(model, device, threads)
    with tqdm(total=100, leave=False, disable=None, bar_format="{desc:12} {bar} {percentage:3.0f}%  {remaining} left") as bar:

        def show(progress: Any) -> None:
            bar.set_description_str(progress.stage)
            bar.update(round(100 * progress.done) - bar.n)

        result = engine.transfer(a, b_prime, settings, progress=show)
    result.save(output)
    seconds = sum(result.seconds.values())
    click.echo(f"{output / 'a_prime.png'}, b.png and montage.png in {seconds:.1f} s ({result.device})")


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b_prime", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@_setting_options
@_engine_options
def transfer(a: Path, b_prime: Path, output: Path, preset: str | None, model: str, device: str, threads: int | None,
             **options: Any) -> None:  # fmt: skip
    """Turn pictures A and B_PRIME into an analogy.

    Writes a_prime.png (A in the looks of B'), b.png (B' in the looks of A), montage.png and settings.json.
    """
    _run(a, b_prime, output, _settings(preset, options), model, device, threads)


@cli.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("analogy-demo"), show_default=True,
              help="Folder for the results.")  # fmt: skip
@_engine_options
def demo(output: Path, model: str, device: str, threads: int | None) -> None:
    """Run the example pair that comes with the package, end to end."""
    examples = Path(__file__).parent / "examples"
    settings = Settings.preset("style-to-photo")
    _run(examples / "astronaut.jpg", examples / "hopper.jpg", output, settings, model, device, threads)


@cli.group()
def models() -> None:
    """The networks that can be used."""


@models.command("list")
def models_list() -> None:
    """Name each model that is here, its widths and what it is."""
    from .models import installed, read_card

    for name, folder in installed().items():
        card = read_card(folder)
        click.echo(f"{name:16} {' '.join(map(str, card.widths)):20} {card.description}")


@models.command("path")
@click.argument("name", default=DEFAULT)
def models_path(name: str) -> None:
    """Print the folder of a model."""
    from .models import locate

    click.echo(locate(name))


@models.command("verify")
@click.argument("name", required=False)
def models_verify(name: str | None) -> None:
    """Compare the files of one model, or of all, with their checksums."""
    from .models import installed, locate, verify

    for each in [name] if name else installed():
        verify(locate(each))
        click.echo(f"{each}: whole")


@cli.command()
def info() -> None:
    """Versions, devices, and what `--device auto` would choose."""
    from importlib.metadata import PackageNotFoundError, version

    from .backends import get_backend

    click.echo(f"analogy {__version__}, Python {sys.version.split()[0]}")
    for package in ("numpy", "numba", "pillow", "onnxruntime", "onnxruntime-gpu", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            click.echo(f"  {package} {version(package)}")
        except PackageNotFoundError:
            click.echo(f"  {package} -")
    click.echo(f"auto chooses: {get_backend('auto').describe()}")


def main() -> None:
    """Entry point; Ctrl-C leaves no half file and exits with 130."""
    try:
        cli.main(prog_name="analogy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("analogy: interrupted", err=True)
        sys.exit(INTERRUPTED)
