"""The command `analogy transfer`, which makes A' and B from A and B'."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engine_arguments import EngineArguments
from ..errors import ModelError, counted, shown
from ..networks.cards import read_card
from ..networks.models import DEFAULT, installed, locate
from ..networks.published import PUBLISHED
from ..settings import Settings
from .display import Display
from .options import (
    RESULTS,
    GroupedCommand,
    engine_options,
    message_options,
    option,
    picture_path,
    request_of,
    request_options,
    setting_options,
)
from .run import run_transfer

if TYPE_CHECKING:
    from ..backends import Device
    from ..request import Request

_log = logging.getLogger("analogy")

_EXAMPLES = """\
analogy transfer photo.jpg painting.jpg -o out
analogy transfer photo.jpg one.jpg two.jpg three.jpg -o out
analogy transfer me.jpg you.jpg -o out --preset face --max-pixels 500000
analogy transfer photo.jpg painting.jpg -o picture.jpg
analogy transfer a.jpg b.jpg -o out --preset photo-to-photo --no-photo
analogy transfer a.jpg b.jpg -o again --settings out/settings.json
analogy transfer - painting.jpg -o - < photo.jpg > picture.png"""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@picture_path("-o", "--output", required=True, group=RESULTS,
              help="Folder for the results. With the path of a picture (.png .jpg .webp .tif .bmp) the command "
                   "writes only A', or B with --direction ba. With - it sends this picture to standard output, as "
                   "PNG.")  # fmt: skip
@option("--flow", is_flag=True, group=RESULTS,
        help="Also write the nearest-neighbour fields, as .npz, .flo and .txt. With several B_PRIME there is no .txt "
             "of the field of A'.")  # fmt: skip
@option("--settings", "record", type=click.Path(path_type=Path), group=RESULTS,
        help="Use the settings, the pins and the model in the settings.json of an earlier result.")  # fmt: skip
@setting_options
@request_options
@engine_options
@message_options
def transfer(output: str, flow: bool, record: Path | None, preset: str | None, model: str | None, device: Device,
             threads: int | None, max_input_pixels: int | None, quiet: bool, verbose: bool,
             **given: Any) -> None:  # fmt: skip
    """Make A' and B from the pictures A and B_PRIME.

    The command writes a_prime.png (A in the looks of B'), b.png (B' in the looks of A), montage.png
    and settings.json. With several B_PRIME each part of A gets the looks of the B_PRIME that fits
    it best, and the command writes b_1.png, b_2.png and so on. One of the pictures can be "-",
    which stands for standard input.
    """
    base, sha256 = Settings(), None
    if record:
        from ..records import read_record

        base, recorded, sha256, pins = read_record(record)
        if given["pins"] is None:
            given["pins"] = pins
        if not model and recorded not in installed():  # a folder of this name may be anybody's
            published = f"get it with: analogy models pull {recorded}"
            cure = published if recorded in PUBLISHED else "if you trust it, give its folder with --model"
            raise ModelError(f"{record} names the model {shown(recorded)}, which is not installed; {cure}")
        model = model or recorded
    model = model or DEFAULT
    if sha256 and read_card(locate(model)).fingerprint != sha256:
        raise ModelError(
            f"the model {model!r} has a different checksum from the model of {record}; give the name or the path "
            "of that model with --model"
        )
    request = request_of(base, preset, given)
    if record:
        _compare_inputs(record, request)
    display, engine = Display(quiet, verbose), EngineArguments(model, device, threads, max_input_pixels)
    run_transfer(request, output, engine, display, flow=flow, record=record)


def _compare_inputs(record: Path, request: Request) -> None:
    """Log a warning if a B, a mask or the number of examples differs from a settings.json.

    The result then differs from the recorded one.
    """
    from ..files.inputs import open_regular
    from ..records import recorded_examples, recorded_inputs
    from ..request import listed

    before, now = recorded_examples(record), len(request.examples)
    if before not in (None, now):
        _log.warning("%s records %d B_PRIME, and you give %d; the result will differ", record, before, now)
    for name, checksums in recorded_inputs(record).items():
        option, paths = f"--{name.replace('_', '-')}", listed(getattr(request, name))
        if checksums and not paths:
            _log.warning("%s was made with %s, which you do not give; the result will differ", record, option)
        elif paths and not checksums:
            _log.warning("%s was made without %s, which you give; the result will differ", record, option)
        elif len(paths) != len(checksums):
            _log.warning(
                "%s was made with %s given %s, and you give it %s; the result will differ",
                record, option, counted(len(checksums), "time"), counted(len(paths), "time"),
            )  # fmt: skip
        for path, checksum in zip(paths, checksums, strict=False):
            with suppress(OSError), open_regular(path) as file:  # the transfer refuses a file that cannot be read
                if hashlib.file_digest(file, "sha256").hexdigest() != checksum:  # type: ignore[arg-type]
                    _log.warning(
                        "%s was made with a %s that differs from %s; the result will differ", record, option, path
                    )
