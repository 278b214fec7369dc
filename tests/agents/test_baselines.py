"""Independent sampling and iterative refinement."""

from __future__ import annotations

import json

from toy_agents import Player, View, actions, ledger, lock, recount, refine

import leafe_gym as lg
from leafe_gym.budget import Budget


def told(view: View) -> str:
    """Play what the latest experience says about this action: letters by number, like `0b 2c`."""
    said = dict(
        (word[0], word[1])
        for experience in view.experiences[-1:]
        for word in experience.split()[1:]
    )
    return said.get(str(view.number), "a")


def test_independent_attempts_are_roots_and_nothing_else() -> None:
    player = Player()
    tree = lg.IndependentSamplingAgent(player).run(lock("bbb"), budget=Budget(interactions=20))
    assert [b.parent for b in tree.branches] == [None] * 4
    assert [b.ending for b in tree.branches] == ["failed"] * 3 + ["budget"]
    assert not player.reflections
    assert ledger(tree) == recount(tree)
    assert (tree.spent.rollbacks, tree.spent.dropped, tree.stopped) == (0, 0, "budget")


def test_independent_attempts_have_seeds_of_their_own() -> None:
    player = Player()
    lg.IndependentSamplingAgent(player).run(lock("bbb"), budget=Budget(interactions=60))
    seeds = [view.sampling.seed for view in player.seen]
    assert len(set(seeds)) == len(seeds)


def test_refinement_starts_again_with_the_latest_experience_only() -> None:
    player = Player(act=told, reflect=refine)
    agent = lg.IterativeRefinementAgent(player)
    tree = agent.run(lock("bcb"), budget=Budget(interactions=60))
    assert [(b.parent, b.restart, b.ending) for b in tree.branches] == [
        (None, False, "failed"),
        (0, True, "won"),
    ]
    second = tree.branches[1]
    assert second.experience is not None
    assert (second.experience.step, second.experience.text) == (0, "play 0b 1c 2b")
    assert len(second.steps) == 3
    assert [s.experiences for s in second.steps] == [(1,)] * 3, "to the end of the attempt"
    assert actions(tree, 1) == "bcb"
    assert tree.history(1) == list(second.steps)
    assert tree.spent.interactions == 6 + 1 + 6
    assert ledger(tree) == recount(tree)
    assert not tree.unchanged(1)


def test_each_refinement_answers_the_attempt_before_it() -> None:
    texts = iter(f"experience {number}" for number in range(99))
    player = Player(reflect=lambda view: json.dumps({"experience": next(texts)}))
    tree = lg.IterativeRefinementAgent(player).run(lock("bb"), budget=Budget(interactions=40))
    chain = tree.branches
    assert [b.parent for b in chain] == [None, *range(len(chain) - 1)]
    assert [b.experience.text for b in chain if b.experience] == [
        f"experience {number}" for number in range(len(chain) - 1)
    ]
    assert {b.start for b in chain} == {0}
    for view in player.seen:
        assert len(view.experiences) <= 1, "only the latest"
    asked = player.reflections[1]
    assert asked.experiences == ["experience 0"]
    assert '"step"' not in asked.last, "the template without tau"
    assert "- action 0 (a): play b" in asked.last, "it reads the comments"
    assert list(asked.sampling.json_schema["properties"]) == ["reason", "experience"]
    assert len(chain[0].reflections) == 1


def test_an_unusable_refinement_leads_to_a_plain_attempt() -> None:
    tree = lg.IterativeRefinementAgent(Player(reflect=lambda view: "no")).run(
        lock("bb"), budget=Budget(interactions=10)
    )
    assert [(b.parent, b.reflections[0].verdict) for b in tree.branches] == [(None, "bad")] * 2
    assert tree.spent.interactions == 10


def test_refinement_costs_no_rollback() -> None:
    player = Player(act=told, reflect=refine)
    budget = Budget(interactions=60, replay_cost=True)
    tree = lg.IterativeRefinementAgent(player).run(lock("bcb"), budget=budget)
    assert (tree.spent.rollbacks, tree.spent.rollback_steps) == (0, 0)
    assert tree.spent.interactions == 13


def test_an_attempt_without_actions_is_not_refined() -> None:
    player = Player(act=lambda view: None, reflect=refine)
    tree = lg.IterativeRefinementAgent(player).run(lock("bb"), budget=Budget(interactions=7))
    assert [(b.ending, b.parent) for b in tree.branches] == [
        ("unparsable", None),
        ("unparsable", None),
    ]
    assert not player.reflections


def test_after_a_success_a_chain_begins_anew() -> None:
    player = Player(act=told, reflect=refine)
    tree = lg.IterativeRefinementAgent(player).run(
        lock("bb"), budget=Budget(interactions=20), stop="budget"
    )
    assert [b.parent for b in tree.branches[:4]] == [None, 0, None, 2]
    assert [b.ending for b in tree.branches[:4]] == ["failed", "won", "failed", "won"]
    assert tree.solved_at is not None
    assert tree.solved_at.interactions == 9


def test_refinement_can_show_all_tips_so_far() -> None:
    texts = iter(["experience one", "experience two", "experience one", "experience three"] * 20)
    player = Player(reflect=lambda view: json.dumps({"experience": next(texts)}))
    agent = lg.IterativeRefinementAgent(player, lg.AgentConfig(experiences="all"))
    tree = agent.run(lock("bb"), budget=Budget(interactions=26))
    shown = [steps[0].experiences for b in tree.branches if (steps := b.steps)]
    assert shown[:3] == [(), (1,), (1, 2)]
    assert shown[3] == (2, 3), "a experience told twice is shown once, where it was told last"
    assert ledger(tree) == recount(tree)


def test_attempts_end_independent_sampling() -> None:
    agent = lg.IndependentSamplingAgent(Player(), lg.AgentConfig(max_attempts=3))
    tree = agent.run(lock("bbb"), budget=Budget(interactions=500))
    assert [b.ending for b in tree.branches] == ["failed"] * 3
    assert tree.stopped == "attempts"
    assert agent.identity["max_attempts"] == 3
