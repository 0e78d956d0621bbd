"""The command `analogy`: a group of commands, each in a module of its own, with one way to end."""

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
    """A handler that writes what the library logs to standard error, a line for each message."""

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


for _command in (transfer, clip, serve, batch, demo, flow, models, info, completion):
    cli.add_command(_command)


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
