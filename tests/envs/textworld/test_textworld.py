"""TextWorld's games and story files: exact ways back, the library's texts, files that are wrong."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.textworld import game_cache, game_text, jericho, progress
from leafe_gym.envs.textworld.game_spec import GameSpec
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning
from leafe_gym.errors import MissingExtra, UsageError
from leafe_gym.testing.players.follower import Follower
from leafe_gym.testing.triples import triples

if find_spec("textworld") is None:
    pytest.skip("pip install 'leafe-gym[textworld]'", allow_module_level=True)

ENV, STORY = "leafe/TextWorld-v0", "leafe/Jericho-v0"
SIZES = {"rooms": 4, "objects": 8, "quest_length": 4}
Counts = Callable[[int, int], int]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def story(cache: Path) -> Path:
    """A compiled game; the one other tests of this module play with seed 3."""
    return game_cache.game_file(GameSpec(**SIZES), 3)  # type: ignore[arg-type]


def made(**kwargs: Any) -> Any:
    return gym.make(ENV, **{**SIZES, **kwargs})


# Ways back


@pytest.mark.parametrize("form", ["z8", "json"])
def test_contracts(story: Path, form: str) -> None:
    game = str(story.with_suffix(f".{form}"))
    check_env(gym.make(ENV, game=game).unwrapped, skip_render_check=True)
    report = lg.check_rollback(ENV, make_kwargs={"game": game}, backends=["native", "replay"])
    report.raise_for_failures()
    assert not report.unproved, str(report)


def test_contracts_of_stories(story: Path) -> None:
    check_env(gym.make(STORY, game=str(story)).unwrapped, skip_render_check=True)
    report = lg.check_rollback(
        STORY, make_kwargs={"game": str(story)}, actions=["look", "inventory", "go east"]
    )
    report.raise_for_failures()
    assert report.verdict("native").outcome == "right", str(report)


@pytest.mark.parametrize("form", ["z8", "json"])
def test_triples(story: Path, counts: Counts, form: str) -> None:
    game = str(story.with_suffix(f".{form}"))
    found = triples(
        lambda: gym.make(ENV, game=game, max_steps=30), counts(40, 240), backend="native"
    )
    assert found == []


def test_triples_of_generated_and_cooking_games(counts: Counts) -> None:
    cooking = {"recipe": 2, "take": 1, "cook": True, "cut": True}
    worlds = (SIZES, {"challenge": "tw-cooking", "settings": cooking})
    for kwargs in worlds[: counts(1, 2)]:
        found = triples(
            lambda kwargs=kwargs: gym.make(ENV, form="json", **kwargs),  # type: ignore[misc]
            counts(6, 240),
            backend="native",
            seeds=counts(1, 3),
        )
        assert found == []


def test_triples_of_stories(story: Path, counts: Counts) -> None:
    """As `triples`, but with words of our own: Jericho lists no commands of this story."""
    words = ["look", "go east", "go west", "go north", "go south", "take all", "drop all", "jump"]
    words += made().unwrapped._spec.build(3).metadata["walkthrough"]
    env = lg.RollbackWrapper(gym.make(STORY, game=str(story)), "native")
    untouched = gym.make(STORY, game=str(story))
    rng = random.Random(0)
    for number in range(counts(40, 240)):
        env.reset(seed=number % 3)
        prefix = rng.choices(words, k=rng.randint(0, 8))
        tau = rng.randint(0, len(prefix))
        outcomes = [env.step(word) for word in prefix[:tau]]
        if any(outcome[2] for outcome in outcomes):
            continue
        mark = env.snapshot()
        for word in prefix[tau:]:
            if env.step(word)[2]:
                break
        env.restore(mark)
        untouched.reset(seed=number % 3)
        for word in prefix[:tau]:
            untouched.step(word)
        for word in rng.choices(words, k=6):
            outcome = env.step(word)
            assert outcome == untouched.step(word)
            if outcome[2]:
                break


def test_triples_find_a_state_that_is_shared(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the progression not copied, the way back leads elsewhere; the check must see it."""
    from textworld.generator.game import GameProgression

    monkeypatch.setattr(GameProgression, "copy", lambda self: self)
    env = gym.make(ENV, game=str(story.with_suffix(".json")), max_steps=30)
    saved = env.unwrapped
    env.reset(seed=0)
    state = saved.get_state()  # type: ignore[attr-defined]
    moved = saved.walkthrough()[0]  # type: ignore[attr-defined]
    expected = env.step(moved)
    saved.set_state(state)  # type: ignore[attr-defined]
    assert env.step(moved) != expected


def test_states_go_to_other_instances_and_games() -> None:
    one, other = made(form="json").unwrapped, made(form="json").unwrapped
    one.reset(seed=3)
    one.step(one.walkthrough()[0])
    state = one.get_state()
    expected = one.step("look")
    other.set_state(state)  # never reset
    assert other.step("look") == expected
    other.reset(seed=4)
    other.set_state(state)  # another game
    assert other.step("look") == expected
    assert other.walkthrough() == one.walkthrough()


@pytest.mark.parametrize("env_id", [ENV, STORY])
def test_a_tree(story: Path, env_id: str) -> None:
    env = lg.RollbackWrapper(gym.make(env_id, game=str(story), max_steps=10), "native")
    known = gym.make(ENV, game=str(story)).unwrapped
    known.reset(seed=0)
    way = known.walkthrough()  # type: ignore[attr-defined]
    agent = lg.ReflectiveTreeAgent(Follower({"": way}, noise=0.4))
    tree = agent.run(env, budget=lg.Budget(interactions=300), seed=1)
    assert tree.solved
    fixed = [branch for branch in tree.branches if branch.experience]
    assert fixed
    assert fixed[-1].won


# Games


@pytest.mark.parametrize("form", ["z8", "json"])
def test_walkthroughs_win(form: str) -> None:
    env = made(form=form).unwrapped
    observation, info = env.reset(seed=3)
    assert observation.startswith("-= ")
    assert "$$" not in observation
    assert not info["won"]
    *before, last = [env.step(command) for command in env.walkthrough()]
    assert all(one[1] == 0.0 and not one[2] for one in before)
    assert last[1:4] == (1.0, True, False)
    assert (last[4]["won"], last[4]["score"], last[4]["feedback"]) == (True, 1.0, "")


def test_a_story_is_won_by_its_closing_words(story: Path) -> None:
    plan = made().unwrapped._spec.build(3).metadata["walkthrough"]
    env = gym.make(STORY, game=str(story))
    env.reset(seed=0)
    outcomes = [env.step(command) for command in plan]
    assert [one[2] for one in outcomes] == [False] * (len(plan) - 1) + [True]
    assert outcomes[-1][1] == 1.0
    assert outcomes[-1][4]["won"]


def test_points_come_one_by_one_and_a_game_can_be_lost() -> None:
    kwargs = {"challenge": "tw-cooking", "settings": {"recipe": 1, "take": 1}, "form": "json"}
    env = gym.make(ENV, **kwargs).unwrapped
    env.reset(seed=1)
    plan = env.walkthrough()  # type: ignore[attr-defined]
    rewards = [env.step(command)[1] for command in plan]
    assert sum(rewards) > 1.0
    assert rewards.count(1.0) > 1
    env.reset(seed=1)
    food = next(command.split(" ", 1)[1] for command in plan if command.startswith("take "))
    outcome: Any = None
    for command in plan:
        outcome = env.step(command)
        if f"eat {food.partition(' from ')[0]}" in outcome[4]["admissible_commands"]:
            outcome = env.step(f"eat {food.partition(' from ')[0]}")
            break
    assert outcome[2:4] == (True, False)
    assert not outcome[4]["won"]
    assert outcome[0].startswith("You have lost.")


def test_the_library_says_the_same(story: Path) -> None:
    import textworld

    infos = textworld.EnvInfos(admissible_commands=True, score=True)
    with no_unknown_story_warning():
        library = textworld.start(str(story), infos)
    state = library.reset()
    env = gym.make(ENV, game=str(story)).unwrapped
    observation, info = env.reset(seed=0)
    rng = random.Random(5)
    for _ in range(25):
        assert " ".join(observation.split()) in " ".join(state.feedback.split())
        assert info["admissible_commands"] == state.admissible_commands
        command = rng.choice(state.admissible_commands)
        points = state.score
        state, _, done = library.step(command)
        observation, reward, terminated, _, info = env.step(command)
        assert (reward, terminated) == (state.score - points, done)
        if done:
            break
    library.close()


@pytest.mark.parametrize(
    "command", ["save", "undo", "look. restart", "look then quit", "tw-extra-infos score", "g"]
)
def test_words_for_the_interpreter_do_not_reach_it(story: Path, command: str) -> None:
    env = gym.make(ENV, game=str(story)).unwrapped
    env.reset(seed=0)
    before = env.get_state().progress.machine[0].copy()  # type: ignore[attr-defined]
    observation, reward, terminated, _, info = env.step(command)
    assert observation == info["feedback"] == "That is not a command of the story."
    assert (reward, terminated) == (0.0, False)
    assert (env.get_state().progress.machine[0] == before).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command", ["", " ", "x" * 500, "nimm Schlüssel \u2192 \U0001f511", "a\nb\x00\x1b"]
)
def test_any_text_is_an_action(story: Path, command: str) -> None:
    for env in (gym.make(ENV, game=str(story)), gym.make(STORY, game=str(story))):
        env.reset(seed=0)
        observation, _, terminated, _, info = env.step(command)
        assert observation
        assert not terminated
        assert info["feedback"]


# Generation


def test_splits_hold_different_games(counts: Counts) -> None:
    specs = {
        split: GameSpec(rooms=2, objects=3, quest_length=2, split=split) for split in lg_splits()
    }
    for split, spec in specs.items():
        for seed in range(counts(1, 10)):
            assert game_cache.split_of(game_cache._game(spec, seed)) == split


def lg_splits() -> tuple[str, ...]:
    return ("train", "val", "test")


def test_task_lists() -> None:
    listed = lg.tasks(ENV, "test", **SIZES, form="json")
    assert len(listed) == 10_000
    task = listed[5]
    env = gym.make(task.env_id, **task.kwargs)
    text = env.reset(seed=task.seed)
    other = gym.make(task.env_id, **lg.tasks(ENV, "train", **SIZES, form="json")[5].kwargs)
    assert other.reset(seed=task.seed) != text
    with pytest.raises(UsageError, match="one of train"):
        lg.tasks(ENV, "dev")


def test_a_story_is_one_task(story: Path) -> None:
    found = [task for split in lg_splits() for task in lg.tasks(STORY, split, game=str(story))]
    assert len(found) == 1
    assert story.name in found[0].id


def test_makers_at_the_same_time_make_one_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = GameSpec(rooms=2, objects=3, quest_length=2)
    makers = [
        get_context("fork").Process(target=game_cache.game_file, args=(spec, 9)) for _ in range(2)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0]
    left = sorted(path.suffix for path in (tmp_path / "leafe-gym" / "textworld").iterdir())
    assert left == [".json", ".z8"]
    env = gym.make(ENV, rooms=2, objects=3, quest_length=2)
    env.reset(seed=9)
    assert [env.step(word)[2] for word in env.unwrapped.walkthrough()][-1]  # type: ignore[attr-defined]


def test_a_game_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch, story: Path) -> None:
    monkeypatch.setattr(game_cache, "_make", lambda *_: pytest.fail("made again"))
    assert made().reset(seed=3)


def test_a_game_without_an_objective(story: Path, tmp_path: Path) -> None:
    for form in ("z8", "json"):
        data = json.loads(story.with_suffix(".json").read_text())
        copy = tmp_path / f"{form}.{form}"
        copy.write_bytes(story.with_suffix(f".{form}").read_bytes())
        copy.with_suffix(".json").write_text(json.dumps({**data, "objective": ""}))
        env = gym.make(ENV, data=str(copy))
        observation, info = env.reset(seed=0)
        assert info["instruction"].startswith("Explore the world and score points.")
        assert observation.strip()
        assert env.step("look")[0].strip()


def test_case_does_not_make_a_command_unknown(story: Path) -> None:
    env = gym.make(ENV, data=str(story))
    for change in (str.upper, str.title, lambda command: f"  {command} "):
        _, info = env.reset(seed=0)
        command = info["admissible_commands"][0]
        expected = env.step(command)[:4]
        env.reset(seed=0)
        *outcome, info = env.step(change(command))
        assert tuple(outcome) == expected
        assert info["feedback"] == ""


@pytest.mark.parametrize("text", ["", "a", "a\n\n\n\nb", "the aim\n\n\nb"])
def test_texts_keep_their_blank_lines(text: str) -> None:
    assert game_text.clean(f"\n{text}\n\n> ").strip() == text
    assert game_text.after(text, "") == text
    assert game_text.after(text, "the aim") == text.removeprefix("the aim")


def test_the_seed_is_the_interpreters(story: Path) -> None:
    env = gym.make(STORY, data=str(story)).unwrapped
    for seed in (1, 7, 2**31 - 2):
        env.reset(seed=seed)
        assert env._game._seed == seed  # type: ignore[attr-defined]
    env.reset(seed=0)
    assert env._game._seed == 2**31 - 1  # type: ignore[attr-defined]


def test_a_missing_tagger_is_said_before_anything_is_downloaded(
    story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jericho, "available", lambda name: name != jericho.TAGGER)
    with pytest.raises(UsageError, match="python -m spacy download en_core_web_sm"):
        gym.make(STORY, data=str(story), admissible=True)
    gym.make(STORY, data=str(story)).close()


# Wrong


@pytest.mark.parametrize("name", ["data", "game"])
def test_a_story_is_found_in_the_data_folder(
    story: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LEAFE_DATA", str(story.parent))
    monkeypatch.chdir("/")
    for env_id in (ENV, STORY):
        assert gym.make(env_id, **{name: story.name}).reset(seed=0)[0]
    (task,) = [
        task for split in lg_splits() for task in lg.tasks(STORY, split, **{name: story.name})
    ]
    assert task.kwargs == {"data": story.name}


def test_wrong_files(story: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(story, tmp_path / "alone.z8"))
    for name in ("game.txt", "game.ulx"):
        (tmp_path / name).touch()
    for path, said in (
        (tmp_path / "none.z8", "there is no .*none.z8"),
        (tmp_path / "game.txt", "leafe/Jericho-v0"),
        (alone, "alone.json is missing"),
    ):
        with pytest.raises(UsageError, match=said):
            gym.make(ENV, data=str(path))
    for text in ("{", "[]", json.dumps({"version": 1}), json.dumps({"version": 7})):
        bad = tmp_path / "bad.json"
        bad.write_text(text)
        with pytest.raises(UsageError, match="not a game that TextWorld can play"):
            gym.make(ENV, game=str(bad)).reset(seed=0)
    with pytest.raises(UsageError, match=r"there is no .*none.z5"):
        gym.make(STORY, data=str(tmp_path / "none.z5"))
    with pytest.raises(UsageError, match=r"end in \.z1 to \.z8"):
        gym.make(STORY, game=str(tmp_path / "game.ulx"))
    for first in (b"\0", b"\x09", b"G", b"\xff"):
        (tmp_path / "bad.z5").write_bytes(first + story.read_bytes()[1:])
        with pytest.raises(UsageError, match="its first byte is not a version"):
            gym.make(STORY, game=str(tmp_path / "bad.z5"))
    cut = tmp_path / "cut.z8"
    cut.write_bytes(story.read_bytes()[:5000])
    shutil.copy(story.with_suffix(".json"), cut.with_suffix(".json"))
    for env_id in (ENV, STORY):
        with pytest.raises(UsageError, match="truncated"):
            gym.make(env_id, data=str(cut))


@pytest.mark.parametrize("name", ["renamed.z5", "renamed.z3", "renamed.Z8"])
def test_a_story_plays_whatever_version_its_name_says(
    story: Path, tmp_path: Path, name: str
) -> None:
    renamed = Path(shutil.copy(story, tmp_path / name))
    first, second = (gym.make(STORY, data=str(path)) for path in (story, renamed))
    for env in (first, second):
        env.reset(seed=1)
    for action in ("look", "inventory", "go north"):
        assert first.step(action)[:4] == second.step(action)[:4]
    cut = tmp_path / f"cut{renamed.suffix}"
    cut.write_bytes(story.read_bytes()[:5000])
    with pytest.raises(UsageError, match="truncated"):
        gym.make(STORY, data=str(cut))


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_a_damaged_story_is_refused_before_it_runs(
    story: Path, tmp_path: Path, place: float
) -> None:
    content = bytearray(story.read_bytes())
    content[64 + int(place * (len(content) - 600))] ^= 0xFF
    damaged = tmp_path / "damaged.z8"
    damaged.write_bytes(content)
    shutil.copy(story.with_suffix(".json"), damaged.with_suffix(".json"))
    for env_id in (ENV, STORY):
        with pytest.raises(UsageError, match="is damaged"):
            gym.make(env_id, data=str(damaged))


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"rooms": 0}, "rooms=0: expected a whole number"),
        ({"form": "ulx"}, "'z8'"),
        ({"split": "dev"}, "train, val, test"),
        ({"settings": {"go": 6}}, "settings= needs challenge="),
        ({"challenge": "tw-cookin"}, "tw-coin_collector, tw-cooking"),
        ({"challenge": "tw-simple"}, r"needs settings=\{'rewards'"),
        ({"challenge": "tw-cooking", "settings": {"goo": 6}}, "no setting goo"),
        ({"challenge": "tw-cooking", "settings": {"go": 7}}, r"go=7; use one of \[1, 6, 9, 12\]"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gym.make(ENV, **kwargs)


def test_games_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env = gym.make(ENV, challenge="tw-coin_collector", settings={"level": 999}, form="json")
    with pytest.raises(UsageError, match="use other sizes or settings"):
        env.reset(seed=0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="set XDG_CACHE_HOME"):
        made(form="json").reset(seed=0)


def test_missing_libraries_are_one_line(monkeypatch: pytest.MonkeyPatch, story: Path) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[textworld\]'"):
        gym.make(ENV)
    monkeypatch.setitem(sys.modules, "jericho", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[jericho\]'"):
        gym.make(STORY, game=str(story))


def test_what_is_saved_is_small(story: Path) -> None:
    env = made().unwrapped
    env.reset(seed=3)
    saved = progress.save(env._game)
    assert len(saved.layers) == 5
    assert saved.machine is not None
