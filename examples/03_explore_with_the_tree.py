"""Explore tasks with the reflective tree into a run folder, and read it back.

python examples/03_explore_with_the_tree.py [FOLDER]     the same command resumes
"""

import sys
import tempfile

import leafe_gym as lg


def main(folder: str | None = None) -> None:
    """Explore ten levels; then say where the branches came from."""
    folder = folder or tempfile.mkdtemp(prefix="leafe-run-")
    agent = lg.ReflectiveTreeAgent(
        lg.policy("scripted"), lg.AgentConfig(reflect_every=10, max_depth=4)
    )
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=2, max_steps=40)[:10]
    with lg.explore(
        agent, tasks, budget=lg.Budget(interactions=300), out=folder, concurrency=8
    ) as run:
        for tree in run.trees():
            fixed = [branch for branch in tree.branches if branch.won and branch.experience]
            print(
                f"{tree.task.id}: {'solved' if tree.solved else 'open'}, "
                f"{tree.spent.interactions} interactions"
            )
            for branch in fixed[:1]:
                old = tree.replaced(branch.id)
                print(f"  action {branch.start}: {old.action} -> {branch.steps[0].action}")
                print(f"  because: {branch.experience.text}")
        print(f"\n{run.export(f'{folder}/trees.jsonl')} trees in {folder}/trees.jsonl")


if __name__ == "__main__":
    main(*sys.argv[1:2])
