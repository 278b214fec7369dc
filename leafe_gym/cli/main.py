"""Entry point: verbs, and how errors become exit codes."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import ParamSpec

import typer

from leafe_gym.cli import (
    bench,
    check,
    demo,
    distill,
    doctor,
    eval,
    explore,
    play,
    reproduce,
    train,
    view,
)
from leafe_gym.cli.interrupt import Interrupted, raise_interrupted
from leafe_gym.cli.screen import complain
from leafe_gym.errors import LeafeError, UsageError

P = ParamSpec("P")


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """`verb` with errors as one line and an exit code; never a traceback for bad input."""

    @functools.wraps(verb)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
        except UsageError as error:
            complain(str(error))
            raise typer.Exit(2) from None
        except LeafeError as error:
            complain(f"{type(error).__name__}: {error}")
            raise typer.Exit(1) from None
        except Interrupted as error:
            complain("stopped; the same command with the same --out goes on from here")
            raise typer.Exit(128 + error.number) from None
        except KeyboardInterrupt:
            complain("interrupted; the same command with the same --out goes on from here")
            raise typer.Exit(128 + signal.SIGINT) from None

    return command


app = typer.Typer(
    name="leafe",
    help="Roll back, reflect, retry: trees of recovered mistakes for language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (demo, play, check, explore, bench, view, distill, train, eval, reproduce, doctor):
    app.command(module.__name__.rpartition(".")[2])(guarded(module.command))


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, raise_interrupted)
    app()
