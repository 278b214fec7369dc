"""From trees to training rows: explore a little, then look at one row closely.

python examples/05_rows.py [FOLDER]     the same command resumes
"""

import sys
import tempfile

import leafe_gym as lg
from leafe_gym import distill


def main(folder: str | None = None) -> None:
    """Print where one counterfactual row comes from, and write all rows."""
    folder = folder or tempfile.mkdtemp(prefix="leafe-run-")
    agent = lg.ReflectiveTreeAgent(
        lg.policy("scripted"), lg.AgentConfig(reflect_every=10, max_depth=4)
    )
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=2, max_steps=40)[:8]
    run = lg.explore(agent, tasks, budget=lg.Budget(interactions=300), out=f"{folder}/run")

    rows = distill.rows(run, distill.RowConfig(keep="successful", per_task=3, rehearsal=0.2))
    row = next(row for row in rows if row.kind == "counterfactual")
    tree = next(tree for tree in run.trees() if tree.task.id == row.task)
    branch = tree.branches[row.branch]
    print(f"{row.task}: branch {branch.id} was rolled back to action {branch.start}.")
    print(f"Why: {branch.experience.text}")
    print(f"It acted on this experience (shown: {branch.steps[row.step].experiences}).\n")

    print(f"The row's prompt has {len(row.prompt)} messages and no experience. The last one:\n")
    print(row.prompt[-1]["content"])
    print(f"\nThe replaced reply: {row.rejected!r}")
    print(f"The target:         {row.target!r}\n")

    print(f"{rows.to_jsonl(f'{folder}/rows.jsonl')} rows in {folder}/rows.jsonl: {rows.counts}")
    run.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
