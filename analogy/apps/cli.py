"""The command `analogy`, a group of commands, each in a module of its own."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from ..errors import AnalogyError, printable, reason
from ..version import __version__
from . import process, streams
from .batch import batch
from .clip import clip
from .completion import completion
from .demo import demo
from .flow import flow
from .info import info
from .models import models
from .process import BAD_INPUT
from .serve.command import serve
from .streams import complain
from .transfer import transfer


class _EchoHandler(logging.Handler):
    """Log handler that writes each message of the library as a line to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        # tqdm clears a progress bar before the line is written, and draws the bar again below it.
        with suppress(OSError, ValueError), streams.bars().external_write_mode(file=sys.stderr):
            complain(f"analogy: {printable(record.getMessage())}")


class _Group(click.Group):
    """Group of commands that prints an error of this package as one line, and exits with code 2."""

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
    """Paint a photo in the looks of a painting, and the painting in the looks of the photo.

    From two pictures A and B' the program makes A' (A in the looks of B') and B (B' in the looks of
    A).
    """
    logger = logging.getLogger("analogy")
    if not logger.handlers:
        logger.addHandler(_EchoHandler())
        logger.setLevel(logging.INFO)


for _command in (transfer, clip, serve, batch, demo, flow, models, info, completion):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line and end the process.

    The exit code is 0 after success, 2 after an error (which is printed as one line), or the code
    with which the command itself exits.
    """
    process.take_over()
    process.loaded()
    streams.prepare()
    code = BAD_INPUT
    try:
        # On Windows, click would expand patterns in every argument, even in the name of a result.
        cli.main(prog_name="analogy", standalone_mode=False, windows_expand_args=False)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except click.ClickException as error:
        code = error.exit_code
        try:
            error.show()
        except OSError:
            streams.give_up(sys.stderr)
    except OSError as error:  # from standard output; the package turns every other OSError into its own error
        streams.give_up(sys.stdout)
        complain(f"analogy: standard output cannot be written to ({reason(error)})")
    except BaseException:
        if not process.interrupted():
            raise
    process.leave(code)
