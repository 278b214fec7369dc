"""`rows(run, ...)`: a run's training rows, one tree in memory at a time.

Example:
    rows("runs/a", keep="successful").to_jsonl("rows.jsonl")
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafe_gym.distill.records import Row
from leafe_gym.distill.select import Choice, Keep, Selection, Target
from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.prompts.base import PromptSet, prompt_set
from leafe_gym.store.records import checksum, dump
from leafe_gym.store.reader import RunReader
from leafe_gym.types import Json

if TYPE_CHECKING:
    from datasets import Dataset

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"keep": "all", "per_task": 3, "rehearsal": 0.2},
    "default": {"keep": "successful", "per_task": 3, "rehearsal": 0.2},
}
"""Settings by name; "paper" is Stage 2 as published (3 branch instances a task, 20 % rehearsal)."""

FORMAT = 1
HELD_OUT = "test"


def rows(
    run: str | Path | RunReader,
    *,
    keep: Keep = "successful",
    per_task: int | None = 3,
    rehearsal: float = 0.2,
    target: Target = "reply",
    splits: Sequence[str] | None = None,
    seed: int = 0,
    dedupe: bool = True,
    balance: int | None = None,
    prompts: PromptSet | None = None,
) -> Rows:
    """The training rows of a run: counterfactual and rehearsal (paper: D_cf and D_reh).

    A counterfactual row is the experience-free history at tau and the revised reply: the first
    step with an action of a branch that an experience opened. A branch whose action stayed the
    same gives none. A rehearsal row is a step of a successful rollout, branched ones included.
    Every prompt is the run's own prompt set's `render` of the history with `experiences=()`.

    Args:
        run: the folder of a run.
        keep: counterfactual rows of which branches. "successful": that won; "improved": that won
            or ended with a higher score where the parent did not (the environment's `score`, else
            the sum of rewards); "all" (paper).
        per_task: most counterfactual rows a task, chosen at random; None for all. Paper: 3.
        rehearsal: chance of each successful rollout to be rehearsed, 0 to 1. Paper: 0.2.
        target: "reply" is the model's whole text; "action" the shortest answer that the prompt
            set reads as the same action.
        splits: tasks of which splits; None for all but "test".
        seed: of all random choices; each is derived from it and the task's id, so that a task's
            choices do not depend on the tasks beside it.
        dedupe: keep one of several rows of a kind with the same prompt and target.
        balance: most rehearsed rollouts a task; None for no limit.
        prompts: the run's prompt set, where it is not found by its name.

    Returns:
        The rows; nothing is read before they are iterated or counted.

    Raises:
        UsageError: for settings that cannot be used, a folder without a run, or a run without a
            finished task.
        ConfigMismatch: if the run was made with other prompts than this version has.
        StoreCorrupt: if the run cannot be read.
    """
    _check(keep, per_task, rehearsal, target, splits, seed, balance)
    folder = run.folder if isinstance(run, Run) else Path(run)
    choice = Choice(
        keep=keep, per_task=per_task, rehearsal=float(rehearsal), target=target, seed=seed,
        dedupe=dedupe, balance=balance,
    )  # fmt: skip
    with RunReader(folder) as source:
        prompts = own_prompts(source, prompts)
        if not any(not error for _, error, _ in source.outcomes()):
            raise UsageError(
                f"{folder}: no task of this run is finished, so it has no rows; run the same "
                "explore command again to finish it"
            )
    return Rows(folder, prompts, choice, tuple(splits) if splits is not None else None)


class Rows:
    """Rows of one run: iterable again and again, with the same rows every time.

    Memory does not grow with the number of trees: one is held at a time, and what duplicates are
    told by lies in a temporary file.
    """

    def __init__(
        self, folder: Path, prompts: PromptSet, choice: Choice, splits: tuple[str, ...] | None
    ) -> None:
        self.folder = folder
        self.prompts = prompts
        self.choice = choice
        self.splits = splits
        self._counts: Counter[str] | None = None

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the order of the run's tasks.

        Raises:
            UsageError: at the end, if there was none; says why.
            StoreCorrupt: if the run cannot be read.
        """
        counts: Counter[str] = Counter()
        with RunReader(self.folder) as run, _Seen() as is_new:
            for tree in run.trees():
                counts["trees"] += 1
                if not self._wanted(tree.task.split):
                    counts["other_split"] += 1
                    continue
                counts["solved_trees"] += tree.solved
                yield from Selection(tree, self.prompts, self.choice, is_new, counts).rows()
        self._counts = counts
        if not counts["counterfactual"] + counts["rehearsal"]:
            raise UsageError(f"{self.folder}: no rows: {self._why(counts)}")

    @property
    def counts(self) -> dict[str, int]:
        """Rows by kind, and what was left out by reason; the first use reads the run once.

        Raises:
            UsageError: if there are no rows.
        """
        if self._counts is None:
            for _ in self:
                pass
        assert self._counts is not None
        always = ("counterfactual", "rehearsal", "trees", "solved_trees")
        return {name: self._counts[name] for name in (*always, *sorted(self._counts))}

    def settings(self) -> dict[str, Json]:
        """What was asked for, as JSON."""
        names = ("keep", "per_task", "rehearsal", "target", "seed", "dedupe", "balance")
        splits = None if self.splits is None else list(self.splits)
        return {name: getattr(self.choice, name) for name in names} | {"splits": splits}

    def manifest(self) -> dict[str, Json]:
        """Where the rows come from and how many there are, as JSON."""
        with RunReader(self.folder) as run:
            source = {
                "fingerprint": run.fingerprint(),
                "config_hash": checksum(dump(run.config)),
                "explored_with": run.config.get("version", ""),
            }
        return {
            "format": FORMAT,
            "settings": self.settings(),
            "counts": self.counts,
            "prompts": {"name": self.prompts.name, "hash": self.prompts.hash},
            "source": source,
            "version": version("leafe-gym"),
        }

    # --- formats -------------------------------------------------------------------------------

    def to_jsonl(self, path: str | Path) -> int:
        """Write one JSON object a line; returns how many. See `leafe_gym.distill.export`."""
        from leafe_gym.distill.export import write_jsonl

        return write_jsonl(self, Path(path))

    def to_trl(self) -> Dataset:
        """The rows as a `datasets.Dataset` for TRL: conversational prompt and completion.

        Raises:
            MissingExtra: if datasets is not installed.
        """
        from leafe_gym.distill.export import trl_dataset

        return trl_dataset(self)

    def to_preference(self) -> Dataset:
        """The counterfactual rows as a `datasets.Dataset` with chosen and rejected replies (DPO).

        Raises:
            MissingExtra: if datasets is not installed.
            UsageError: if no row has a reply that was replaced.
        """
        from leafe_gym.distill.export import preference_dataset

        return preference_dataset(self)

    def to_verl(self, path: str | Path) -> int:
        """Write a Parquet file for verl; returns how many rows.

        Raises:
            MissingExtra: if pyarrow is not installed.
        """
        from leafe_gym.distill.export import write_verl

        return write_verl(self, Path(path))

    def to_shards(self, folder: str | Path, tokenizer: Any, max_length: int | None = None) -> Json:
        """Write token ids for memory-mapped reading by `ShardSet`; returns the manifest.

        Args:
            folder: new or empty.
            tokenizer: a Hugging Face tokenizer with a chat template, or the path of one.
            max_length: longest row in tokens; longer ones are left out and counted.

        Raises:
            MissingExtra: if transformers is not installed and `tokenizer` is a path.
            UsageError: if the tokenizer has no chat template, or every row is too long.
        """
        from leafe_gym.distill.shards import write_shards

        return write_shards(self, Path(folder), tokenizer, max_length)

    # --- inside --------------------------------------------------------------------------------

    def _wanted(self, split: str) -> bool:
        return split != HELD_OUT if self.splits is None else split in self.splits

    def _why(self, counts: Counter[str]) -> str:
        if counts["other_split"] == counts["trees"]:
            if self.splits is None:
                return (
                    f"every tree is of the split {HELD_OUT!r}, which is kept for evaluation; "
                    f"explore the split 'train', or pass splits=({HELD_OUT!r},)"
                )
            return f"no tree is of the splits {', '.join(self.splits)}"
        left_out = {n: c for n, c in sorted(counts.items()) if c and n not in ("trees",)}
        reasons = ", ".join(f"{name} {count}" for name, count in left_out.items())
        if self.choice.keep == "all" and not counts["solved_trees"]:
            return (
                "no trajectory was successful and no branch took another action than before "
                f"({reasons or 'there are no branches'}); explore with a larger budget or an "
                "easier split"
            )
        if not counts["solved_trees"]:
            return (
                "no trajectory was successful; explore with a larger budget, or pass keep='all' or "
                f"keep='improved' for branches that did not win ({reasons or 'no branches'})"
            )
        return f"all were left out ({reasons}); try keep='all' or a larger rehearsal"


def own_prompts(run: RunReader, given: PromptSet | None = None) -> PromptSet:
    """The prompt set that a run was made with.

    Raises:
        UsageError: if the run does not say, or the set is not known here.
        ConfigMismatch: if it has another content here.
    """
    config = run.config
    agent = config.get("agent") if isinstance(config, dict) else None
    named = agent.get("prompts") if isinstance(agent, dict) else None
    if not isinstance(named, dict) or not {"name", "hash"} <= set(named):
        raise UsageError(
            f"{run.folder}: this run does not say which prompts it was made with; only runs of "
            "explore and bench can be distilled"
        )
    prompts = given if given is not None else prompt_set(named["name"])
    if (prompts.name, prompts.hash) != (named["name"], named["hash"]):
        raise ConfigMismatch(
            f"{run.folder}: made with the prompts {named['name']!r} ({named['hash']}); here are "
            f"{prompts.name!r} ({prompts.hash}), and rows with other prompts than were acted on "
            "would train the wrong thing: use the version of leafe-gym that made the run "
            f"({config.get('version', 'unknown')})"
        )
    return prompts


class _Seen:
    """Hashes seen so far, in a temporary file."""

    def __enter__(self) -> Callable[[bytes], bool]:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")
        return self._is_new

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _is_new(self, digest: bytes) -> bool:
        with closing(self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,))) as done:
            return done.rowcount == 1


def _check(
    keep: object, per_task: object, rehearsal: object, target: object, splits: object,
    seed: object, balance: object,
) -> None:  # fmt: skip
    one_of("keep", keep, ("successful", "improved", "all"))
    one_of("target", target, ("reply", "action"))
    for name, value in (("per_task", per_task), ("balance", balance)):
        if value is not None and (type(value) is not int or value < 0):
            raise UsageError(
                f"{name}={value!r}: expected a whole number >= 0, or None for no limit"
            )
    if type(seed) is not int:
        raise UsageError(f"seed={seed!r}: expected a whole number")
    number = isinstance(rehearsal, int | float) and not isinstance(rehearsal, bool)
    if not number or not 0 <= rehearsal <= 1:  # type: ignore[operator]
        raise UsageError(f"rehearsal={rehearsal!r}: expected a share from 0 to 1")
    if splits is not None and (isinstance(splits, str) or not isinstance(splits, Sequence)):
        raise UsageError(f"splits={splits!r}: expected a sequence of names, such as ('train',)")


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise a `UsageError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UsageError(f"{name}={value!r}: expected one of {', '.join(allowed)}")
