"""The command `analogy`. Its options for a transfer are made from the fields of `Settings`."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from ..errors import AnalogyError, DeviceError, ImageError, MemoryLimitError, ModelError, printable, reason, shown
from ..networks.cards import read_card
from ..networks.models import DEFAULT, locate
from ..settings import Settings
from ..version import __version__
from . import process, streams
from .batch import batch
from .clip import clip
from .display import Display
from .options import (
    MATCHING,
    REGIONS,
    RESULTS,
    GroupedCommand,
    engine_options,
    message_options,
    option,
    picture_path,
    setting_options,
    settings_of,
)
from .run import EXAMPLE_LABELS, EXAMPLE_PAIR, run_transfer
from .serve.command import serve
from .streams import complain

_log = logging.getLogger("analogy")

BAD_INPUT = 2
"""Exit code for what the user can mend; the same as for a wrong option."""


class _EchoHandler(logging.Handler):
    """What the library logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with (
            suppress(OSError, ValueError),
            tqdm.external_write_mode(file=sys.stderr),
        ):  # above a bar that is being shown
            complain(f"analogy: {printable(record.getMessage())}")


class _Group(click.Group):
    """Turns the package's own errors into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except AnalogyError as error:
            if not process.interrupted():
                complain(f"analogy: {error}")
        except MemoryError:
            complain("analogy: there is not enough memory; close other programs, or make the pictures smaller")
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


_TRANSFER_EXAMPLES = """\
analogy transfer photo.jpg painting.jpg -o out
analogy transfer me.jpg you.jpg -o out --preset face --max-pixels 500000
analogy transfer photo.jpg painting.jpg -o picture.jpg --direction ab
analogy transfer a.jpg b.jpg -o out --preset photo-to-photo --no-photo
analogy transfer a.jpg b.jpg -o again --settings out/settings.json
analogy transfer - painting.jpg -o - < photo.jpg > picture.png"""


@cli.command(cls=GroupedCommand, examples=_TRANSFER_EXAMPLES)
@click.argument("a", type=click.Path(allow_dash=True))
@click.argument("b_prime", type=click.Path(allow_dash=True))
@picture_path("-o", "--output", required=True, group=RESULTS,
              help="Folder for the results; or a picture (.png .jpg .webp .tif .bmp) for A' alone, - for standard "
                   "output (PNG).")  # fmt: skip
@option("--flow", is_flag=True, group=RESULTS, help="Also write both fields, as .npz, .flo and .txt.")
@option("--levels", is_flag=True, group=RESULTS,
        help="Also write the picture of each level: how the analogy forms.")  # fmt: skip
@option("--settings", "record", type=click.Path(path_type=Path), group=RESULTS,
        help="Repeat what a settings.json says.")  # fmt: skip
@setting_options
@picture_path(
    "--b",
    group=MATCHING,
    help="B, if you have it: the picture that B' was painted over, of the same size. Then A' alone is made.",
)
@picture_path(
    "--mask-a", group=REGIONS, help="Label picture of A: one colour, one region; what is transparent has no label."
)
@picture_path("--mask-b", group=REGIONS, help="Label picture of B'; regions match only their own colour.")
@option("--pins", type=click.Path(path_type=Path), group=REGIONS,
        help="CSV file xa,ya,xb,yb, in pixels: places of A that have to go to places of B'.")  # fmt: skip
@engine_options
@message_options
def transfer(a: str, b_prime: str, output: str, preset: str | None, record: Path | None, b: str | None,
             mask_a: str | None, mask_b: str | None, pins: Any, flow: bool, levels: bool, model: str | None, device: str,
             threads: int | None, max_input_pixels: int | None, quiet: bool, verbose: bool,
             **options: Any) -> None:  # fmt: skip
    """Turn pictures A and B_PRIME into an analogy; one of the pictures can be "-", standard input.

    Writes a_prime.png (A in the looks of B'), b.png (B' in the looks of A), montage.png and settings.json.
    """
    base, sha256, recorded_pins = Settings(), None, None
    beside = {"b": b} | {name: mask for name, mask in (("mask_a", mask_a), ("mask_b", mask_b)) if mask is not None}
    if record:
        from ..result import read_record

        base, recorded, sha256, recorded_pins = read_record(record)
        _compare_inputs(record, beside)
        if not model and (Path(recorded).name != recorded or recorded.startswith("~")):
            raise ModelError(f"{record} names the model {shown(recorded)}, a path: if you trust it, say --model")
        model = model or recorded
    model = model or DEFAULT
    if sha256 and read_card(locate(model)).fingerprint != sha256:
        raise ModelError(
            f"the model {model!r} is not the one of {record}: its checksum differs; name that one with --model"
        )
    settings = settings_of(base, preset, options)
    display, engine = Display(quiet, verbose), (model, device, threads, max_input_pixels)
    pins = recorded_pins if pins is None else pins
    run_transfer(
        a, b_prime, output, settings, engine, display, flow=flow, levels=levels, pins=pins, beside=beside, record=record
    )


def _compare_inputs(record: Path, given: dict[str, str | None]) -> None:
    """Log where B or a mask is not that of a settings.json, whose result is then not the one that is made."""
    from ..files.inputs import open_regular
    from ..result import recorded_inputs

    for name, checksum in recorded_inputs(record).items():
        option, path = f"--{name.replace('_', '-')}", given.get(name)
        if path is None and checksum is None:
            continue
        if path is None:
            _log.warning("%s was made with %s, which is not given: the result will be another", record, option)
            continue
        if checksum is None:
            _log.warning("%s was made without %s, which is given: the result will be another", record, option)
            continue
        with suppress(OSError), open_regular(path) as file:  # what cannot be read is refused when it is needed
            if hashlib.file_digest(file, "sha256").hexdigest() != checksum:  # type: ignore[arg-type]
                _log.warning("%s was made with another %s than %s", record, option, path)


cli.add_command(clip)
cli.add_command(serve)
cli.add_command(batch)


@cli.command(cls=GroupedCommand)
@option("-o", "--output", type=click.Path(), default="analogy-demo", show_default=True,
        help="Folder for the results.", group=RESULTS)  # fmt: skip
@engine_options
@message_options
def demo(output: str, model: str | None, device: str, threads: int | None, max_input_pixels: int | None, quiet: bool,
         verbose: bool) -> None:  # fmt: skip
    """Run the example pair that comes with the package, end to end: a photo and a painting, with label pictures of
    hair, skin, lips, clothes and background, as transfer A B_PRIME --mask-a LABELS_A --mask-b LABELS_B does.
    """
    engine = (model or DEFAULT, device, threads, max_input_pixels)
    a, b_prime = map(str, EXAMPLE_PAIR)
    masks = dict(zip(("mask_a", "mask_b"), map(str, EXAMPLE_LABELS), strict=True))
    run_transfer(a, b_prime, output, Settings(), engine, Display(quiet, verbose), beside=masks)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The picture to write.")
@click.option("--width", type=click.IntRange(1, 99_999), help="Width of the field, which a .txt does not hold.")
def flow(file: Path, output: Path, width: int | None) -> None:
    """Draw a field (.npz, .flo or .txt) in the usual colour wheel: hue is direction, strength is distance."""
    from ..files.atomic import as_path
    from ..files.places import Places
    from ..method.flow import colour
    from ..method.flow_files import read
    from ..pictures.writing import write_picture

    if width is not None and file.suffix.lower() in (".npz", ".flo"):
        raise ImageError(f"{file}: holds its own size; leave out --width")
    with Places() as places:
        places.read(file, "the field")
        places.write(as_path(output), "the picture")
    write_picture(as_path(output), colour(read(file, width)))
    click.echo(printable(str(output)))


@cli.group()
def models() -> None:
    """The networks that can be used."""


@models.command("list")
def models_list() -> None:
    """Name each model that is here, with its widths, and those that can be pulled."""
    from ..networks.models import installed
    from ..networks.published import PUBLISHED

    here = installed()
    for name, folder in here.items():
        try:
            card = read_card(folder)
            widths, words = " ".join(map(str, card.widths)), card.description
        except ModelError as error:
            widths, words = "(damaged)", str(error)
        click.echo(f"{printable(name):22} {widths:20} {words}")
    for name, published in PUBLISHED.items():
        if name not in here:
            click.echo(f"{name:22} {'(to pull)':20} {published.description}")


@models.command("pull")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A published file that you downloaded by hand.")
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photographs: also find a projection for the search."
)
def models_pull(name: str, source: Path | None, photos: Path | None) -> None:
    """Download a published model's weights, check and convert them; needs the extra "export".

    With --photos, about 130 photographs of any kind, the model also gets a projection of its features for the search,
    which finds better matches.
    """
    from tqdm import tqdm

    from ..method.projection import list_photos
    from ..networks.pull import pull

    paths = list_photos(photos) if photos else []
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        folder = pull(name, source, progress=bar)
    if paths:
        project(folder, paths)
    click.echo(folder)


def project(folder: Path, photos: list[Path]) -> None:
    """Find a projection for the model in `folder`, with a progress bar."""
    from tqdm import tqdm

    from ..backends import get_backend
    from ..method.features import Features
    from ..method.projection import add_projection

    with tqdm(total=100, leave=False, disable=None, bar_format="{desc} {bar} {percentage:3.0f}%") as bar:
        bar.set_description_str("projection")
        add_projection(
            Features(folder, get_backend()), photos, lambda progress: bar.update(round(100 * progress.done) - bar.n)
        )


@models.command("path")
@click.argument("name", default=DEFAULT)
def models_path(name: str) -> None:
    """Print the folder of a model."""
    click.echo(locate(name))


@models.command("verify")
@click.argument("name", required=False)
def models_verify(name: str | None) -> None:
    """Compare the files of one model, or of all, with their checksums."""
    from ..networks.models import installed, verify

    failed = False
    for each in [name] if name else installed():
        try:
            verify(locate(each))
        except ModelError as error:
            failed = True
            click.echo(f"analogy: {error}", err=True)
        else:
            click.echo(f"{printable(each)}: whole")
    if failed:
        sys.exit(BAD_INPUT)


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Delete a pulled model."""
    from ..networks.models import remove

    click.echo(f"{remove(name)}: removed")


@cli.command()
@click.option("--selftest", is_flag=True, help="Try the GPU step by step; exit code 0 only if everything holds.")
def info(selftest: bool) -> None:
    """Versions, devices, and what `--device auto` would choose and why."""
    from ..backends import get_backend, runtime
    from ..networks.models import find_cache
    from .gpu import installed, report

    click.echo(f"analogy {__version__}, Python {sys.version.split()[0]}")
    for package, found in installed():
        click.echo(f"  {package} {found}")
    if problem := runtime.problem():
        click.echo(f"  {problem}")
    try:
        backend, why = get_backend("cuda"), "the GPU works"
    except (DeviceError, MemoryLimitError) as error:
        backend, why = get_backend("cpu"), f"the GPU is not used: {error}"
    click.echo(f"auto chooses: {backend.describe()}")
    click.echo(f"  because {why}")
    pulled = find_cache() or "nowhere, as this user has no home; set ANALOGY_HOME to a folder for them"
    click.echo(printable(f"pulled models: {pulled}"))
    if selftest:
        lines, well = report()
        for line in lines:
            click.echo(printable(line))
        sys.exit(0 if well else 1)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print what makes a shell complete this command's words; the shell is yours if not named.

    \b
    bash: eval "$(analogy completion bash)"          in ~/.bashrc
    zsh:  eval "$(analogy completion zsh)"           in ~/.zshrc
    fish: analogy completion fish | source           in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    shell = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError("which shell? Say bash, zsh or fish")
    click.echo(kind(cli, {}, "analogy", "_ANALOGY_COMPLETE").source())


def main() -> NoReturn:
    """Run the command line, and end the process: what goes wrong is one line, with exit code 2."""
    process.take_over()
    process.loaded()
    streams.prepare()
    code = BAD_INPUT
    try:
        cli.main(prog_name="analogy", standalone_mode=False)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except click.ClickException as error:
        code = error.exit_code
        try:
            error.show()
        except OSError:
            streams.give_up(sys.stderr)
    except OSError as error:  # others are errors of this package by now
        streams.give_up(sys.stdout)
        complain(f"analogy: standard output cannot be written to ({reason(error)})")
    except BaseException:
        if not process.interrupted():
            raise
    process.leave(code)
