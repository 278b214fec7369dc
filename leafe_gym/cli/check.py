"""`leafe check ID`: can this environment be brought back to an earlier state?"""

from __future__ import annotations

from typing import Annotated

import typer

from leafe_gym.cli.options import Data, EnvId, JsonOut, Set, env_kwargs, pick_tasks
from leafe_gym.cli.screen import out, plain, write_json
from leafe_gym.wrappers.verification.check import check_rollback

Actions = Annotated[
    list[str] | None,
    typer.Option("--action", "-a", help="An action that changes something. Repeatable."),
]


def command(
    env_id: EnvId,
    action: Actions = None,
    set_: Set = None,
    data: Data = None,
    json_path: JsonOut = None,
) -> None:
    """Which rollback backends are right for an environment, what they cost, what was refused."""
    kwargs = env_kwargs(set_, data)
    task = pick_tasks(env_id, "train", 1, kwargs)[0]
    report = check_rollback(task.env_id, actions=action, make_kwargs=kwargs)
    if json_path:
        write_json(report.as_dict(), json_path)
    if json_path != "-":
        out.print(plain(str(report)))
    if not report.ok:
        raise typer.Exit(1)
