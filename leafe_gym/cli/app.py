"""The verbs of `leafe`, and how errors become exit codes.

0 done, 1 failed, 2 bad input, 130 and 143 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, ParamSpec

import typer

from leafe_gym._files import NOT_WRITTEN
from leafe_gym.cli.interrupt import Interrupted, raise_interrupted
from leafe_gym.cli.screen import CleanFormatter, complain
from leafe_gym.errors import LeafeError, UsageError

P = ParamSpec("P")

VERBS = (
    "demo", "play", "check", "check-problems", "explore", "bench", "view", "status", "merge",
    "plan", "distill", "train", "eval", "rounds", "reproduce", "serve", "doctor",
)  # fmt: skip
"""Each is a module of this package, with _ for -, with a function `command`."""


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """`verb` with errors as one line and an exit code; never a traceback for bad input."""
    resumable = "out_dir" in inspect.signature(verb).parameters
    goes_on = "; the same command with the same --out resumes it" if resumable else ""

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
        except OSError as error:
            if error.errno not in NOT_WRITTEN:
                raise
            complain(f"cannot write: {error}{goes_on}")
            raise typer.Exit(1) from None
        except Interrupted as error:
            word = "interrupted" if error.number == signal.SIGINT else "stopped"
            complain(f"{word}{goes_on}")
            raise typer.Exit(128 + error.number) from None
        except KeyboardInterrupt:
            complain(f"interrupted{goes_on}")
            raise typer.Exit(128 + signal.SIGINT) from None

    return command


def build(verbs: Sequence[str] = VERBS) -> typer.Typer:
    """The command with these verbs; a module is loaded only if its verb is among them."""
    app = typer.Typer(
        name="leafe",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(
        help="Roll back, reflect, retry: trees of recovered mistakes for language-model agents."
    )(_root)
    for verb in verbs:
        module = importlib.import_module(f"leafe_gym.cli.{verb.replace('-', '_')}")
        app.command(verb)(guarded(module.command))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leafe-gym {version('leafe-gym')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """The options before a verb."""


def run() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, raise_interrupted)
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(CleanFormatter("%(message)s"))
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    build((asked,) if asked in VERBS else VERBS[-1:] if asked == "--version" else VERBS)()
