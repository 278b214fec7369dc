"""Entry point: verbs, and how errors become exit codes."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import click
import typer

from leafe_gym.cli import bench, check, demo, explore, play, view
from leafe_gym.cli.screen import complain
from leafe_gym.errors import LeafeError, UsageError

app = typer.Typer(
    name="leafe",
    help="Roll back, reflect, retry: trees of recovered mistakes for language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (demo, play, check, explore, bench, view):
    app.command(verb.__name__.rpartition(".")[2])(verb.command)


def main() -> NoReturn:
    """Run the command line; never returns and never shows a traceback for bad input."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted; the same command with the same --out goes on from here")
        return 130
    except UsageError as error:
        complain(str(error))
        return 2
    except LeafeError as error:
        complain(f"{type(error).__name__}: {error}")
        return 1
    except BrokenPipeError:
        return 1
    return code if isinstance(code, int) else 0


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(143)
