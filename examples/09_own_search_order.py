"""A search order of your own: go on from the best state found so far.

python examples/09_own_search_order.py [TASKS]

On the command line: leafe explore ID --out DIR --method my_module:ClimbAgent
"""

import sys
import tempfile

import leafe_gym as lg
from leafe_gym.agents.frontier import Selection


class ClimbFrontier:
    """Two of three attempts start in the state with the highest score, the others at step 0."""

    reflection = "none"  # nothing is asked after a failure

    def __init__(self):
        self.best, self.score, self.waiting = Selection(), 0.0, False

    def ask(self, number):
        """The start of attempt `number`; None while it depends on one that is under way."""
        if self.waiting:
            return None
        self.waiting = True
        return self.best if number % 3 else Selection()

    def tell(self, plan, branch):
        """Remember the best state that a committed attempt passed through."""
        self.waiting, action = False, plan.selection.start
        for step in branch.steps:
            action += step.action is not None
            score = step.info.get("score", 0.0)
            if step.action and not step.over and score > self.score:
                depth = plan.selection.depth + 1
                self.best = Selection(parent=branch.id, start=action, depth=depth)
                self.score = score

    def capacity(self, number, selection):
        """How many branches the reflections of an attempt may open."""
        return 0


class ClimbAgent(lg.Agent):
    """An agent with this order."""

    method = "climb"

    def frontier(self, task):
        """A fresh order for one task."""
        return ClimbFrontier()


def main(count: int = 12) -> None:
    """Compare it with independent sampling on the same levels."""
    lg.register("method", "climb", ClimbAgent)  # now also `leafe_gym.evals.samplers.make_agent`
    tasks = lg.tasks("leafe/Sokoban-v0", split="val", boxes=3, max_steps=60)[:count]
    for make in (lg.IndependentSamplingAgent, ClimbAgent):
        agent, folder = make(lg.policy("scripted")), tempfile.mkdtemp(prefix="leafe-run-")
        with lg.explore(agent, tasks, budget=lg.Budget(interactions=300), out=folder) as run:
            trees = list(run.trees())
        solved = sum(tree.solved for tree in trees)
        rollbacks = sum(tree.spent.rollbacks for tree in trees)
        print(f"{agent.method:5} solved {solved} of {len(trees)}, {rollbacks} rollbacks")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
