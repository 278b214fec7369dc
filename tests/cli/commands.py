"""The command `leafe` in this process, where what it does matters and not how it starts."""

from __future__ import annotations

from subprocess import CompletedProcess

from typer.testing import CliRunner

from leafe_gym.cli.app import build


def leafe(*arguments: object) -> CompletedProcess[str]:
    """Run a verb; an error that would be a traceback is raised."""
    words = [str(one) for one in arguments]
    done = CliRunner().invoke(build(words[:1]), words, prog_name="leafe")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
