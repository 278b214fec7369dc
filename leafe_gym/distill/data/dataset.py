"""`rows(source, config)`: a run's training rows, one tree in memory at a time.

Example:
    rows("runs/a", RowConfig(keep="successful")).to_jsonl("rows.jsonl")
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafe_gym.arguments import require_instance, require_path
from leafe_gym.distill.data.config import TEST_SPLIT, RowConfig
from leafe_gym.distill.data.hidden import HiddenCheck, RunVocabulary, Score
from leafe_gym.distill.data.provenance import run_facts
from leafe_gym.distill.data.row_types import Row
from leafe_gym.distill.data.select import RowSelector
from leafe_gym.errors import ConfigMismatch, NoRows, UsageError
from leafe_gym.prompts.base import PromptSet, as_prompt_set
from leafe_gym.prompts.chat_template import check_arguments
from leafe_gym.store.reader import RunReader
from leafe_gym.types import Json

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 1


def rows(
    source: str | Path | RunReader,
    config: RowConfig = RowConfig(),  # noqa: B008 - frozen
    *,
    prompts: PromptSet | None = None,
    score: Score | None = None,
) -> Rows:
    """The training rows of a run: counterfactual and rehearsal (paper: D_cf and D_reh).

    A counterfactual row is the experience-free history at tau and the revised reply: the first
    step with an action of a branch that an experience opened. A branch whose action is unchanged
    gives none. A rehearsal row is a step of a successful rollout, branched ones included.
    Every prompt is the `render` of the run's own prompt set with `experiences=()`.

    Args:
        source: the folder of a run, or a run.
        config: which rows to take.
        prompts: the run's prompt set, where it is not found by its name.
        score: the log-likelihood of a reply under the policy that acted, such as
            `leafe_gym.distill.training.likelihood.ReplyLikelihood`; rows that seem to need hidden
            knowledge are then checked with it (`RowConfig.hidden`).

    Returns:
        The rows; nothing is read before they are iterated or counted.

    Raises:
        UsageError: for a folder without a run.
        NoRows: for a run without a finished task.
        ConfigMismatch: if the run was made with other prompts than this version has.
        StoreCorrupt: if the run cannot be read.

    Example:
        >>> import tempfile, leafe_gym as lg
        >>> tasks = lg.tasks("leafe/Sokoban-v0", split="train", size=6, boxes=1)[:2]
        >>> agent = lg.ReflectiveTreeAgent(lg.policy("scripted"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lg.explore(agent, tasks, budget=lg.Budget(interactions=60), out=folder).close()
        ...     found = list(rows(folder, RowConfig(rehearsal=1.0)))
        >>> found[0].kind, found[0].target.startswith("Action: ")
        ('rehearsal', True)
    """
    require_instance("config", config, RowConfig)
    folder = source.folder if isinstance(source, RunReader) else require_path("source", source)
    with RunReader(folder) as run:
        found = own_prompts(run, prompts)
        arguments = own_template_arguments(run)
        if next(run.results(), None) is None:
            raise NoRows(
                f"{folder}: no task of this run is finished, so it has no rows; run the same "
                "explore command again to finish it"
            )
    return Rows(folder, found, config, arguments, score)


class Rows:
    """Rows of one run; every iteration yields the same rows.

    Memory does not grow with the number of trees: one tree is held at a time, and the hashes that
    detect duplicates are in a temporary file.

    Attributes:
        folder: the run's.
        prompts: the run's prompt sets, by the id of the environment.
        config: which rows are taken.
        chat_template_kwargs: arguments of the chat template that the run's policy was prompted
            with; also those to evaluate a trained model with.
    """

    def __init__(
        self,
        folder: Path,
        prompts: Mapping[str, PromptSet],
        config: RowConfig,
        arguments: dict[str, Json],
        score: Score | None = None,
    ) -> None:
        self._score = score
        self.folder = folder
        self.prompts = prompts
        self.config = config
        self.chat_template_kwargs = arguments
        self._counts: Counter[str] | None = None

    def __iter__(self) -> Iterator[Row]:
        """All rows, in the order of the run's tasks.

        Raises:
            NoRows: at the end, if there was none; says why.
            StoreCorrupt: if the run cannot be read.
        """
        counts: Counter[str] = Counter()
        vocabulary = RunVocabulary(self.folder)
        with RunReader(self.folder) as run, _SeenHashes() as is_new:
            for tree in run.trees():
                counts["trees"] += 1
                if not self.config.takes(tree.task.split):
                    counts["other_split"] += 1
                    continue
                counts["solved_trees"] += tree.solved
                prompts = self.prompts[tree.task.env_id]
                hidden = HiddenCheck(tree, vocabulary, self._score)
                yield from RowSelector(
                    tree, prompts, self.config, is_new, counts, self.chat_template_kwargs, hidden
                ).rows()
        self._counts = counts
        if not counts["counterfactual"] + counts["rehearsal"]:
            raise NoRows(f"{self.folder}: no rows: {self._why_none(counts)}")

    @property
    def counts(self) -> dict[str, int]:
        """Rows by kind, and omitted steps by reason; the first use reads the run once.

        Raises:
            NoRows: if there are none.
        """
        if self._counts is None:
            for _ in self:
                pass
        assert self._counts is not None
        always = ("counterfactual", "rehearsal", "trees", "solved_trees")
        return {name: self._counts[name] for name in (*always, *sorted(self._counts))}

    def manifest(self) -> dict[str, Json]:
        """Provenance and counts of the rows, as JSON."""
        with RunReader(self.folder) as run:
            source = run_facts(run)
        return {
            "format": FORMAT,
            "config": self.config.as_dict(),
            "counts": self.counts,
            "prompts": {
                env_id: {"name": one.name, "hash": one.hash} for env_id, one in self.prompts.items()
            },
            "chat_template_kwargs": self.chat_template_kwargs,
            "source": source,
            "version": version("leafe-gym"),
        }

    # --- formats -------------------------------------------------------------------------------

    def to_jsonl(self, path: str | Path) -> int:
        """Write one JSON object a line; returns how many. See `leafe_gym.distill.data.export`.

        Raises:
            UsageError: if `path` is not a path.
            StoreError: if the file cannot be written.
        """
        from leafe_gym.distill.data.export import write_jsonl

        return write_jsonl(self, require_path("path", path))

    def to_trl(self) -> Dataset:
        """The rows as a `datasets.Dataset` for TRL: conversational prompt and completion.

        TRL cuts rows at `SFTConfig.max_length`, by default 1024 tokens, and drops those whose
        completion is cut off: set it to None, or to at least `longest(tokenizer)`.

        Raises:
            MissingExtra: if datasets is not installed.
        """
        from leafe_gym.distill.data.export import trl_dataset

        return trl_dataset(
            self,
            self.chat_template_kwargs,
            thinking=self._thinking,
            teacher=self.config.teacher,
        )

    def to_preference(self, *, every_branch: bool = False) -> Dataset:
        """The counterfactual rows as a `datasets.Dataset` with chosen and rejected replies (DPO).

        As with `to_trl`, mind TRL's `max_length`.

        Args:
            every_branch: take pairs from all branches instead of those that won or ended with a
                higher score than their parent.

        Raises:
            MissingExtra: if datasets is not installed.
            UsageError: if no row has a reply that was replaced.
        """
        from leafe_gym.distill.data.export import preference_dataset

        return preference_dataset(
            self, self.chat_template_kwargs, thinking=self._thinking, every_branch=every_branch
        )

    def longest(self, tokenizer: Any) -> int:
        """Tokens of the longest row; what `max_length` of a trainer must allow.

        Args:
            tokenizer: a Hugging Face tokenizer with a chat template, or the path of one.

        Raises:
            MissingExtra: if transformers is not installed and `tokenizer` is a path.
            UsageError: if there are no rows, or the tokenizer has no chat template.
        """
        from leafe_gym.distill.data.tokens import Encoder

        encoder = Encoder(tokenizer)
        for row in self:
            encoder.encode(row)
        return encoder.longest

    def to_verl(self, path: str | Path) -> int:
        """Write a Parquet file for verl; returns how many rows.

        Raises:
            MissingExtra: if pyarrow is not installed.
        """
        from leafe_gym.distill.data.export import write_verl

        return write_verl(self, require_path("path", path))

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
        from leafe_gym.distill.data.shards import write_shards

        return write_shards(
            self, require_path("folder", folder), tokenizer, max_length, source=self.manifest
        )

    # --- internals --------------------------------------------------------------------------------

    @property
    def _thinking(self) -> bool:
        """Whether targets may hold thinking beside their text."""
        return self.config.target == "reasoning+answer"

    def _why_none(self, counts: Counter[str]) -> str:
        if counts["other_split"] == counts["trees"]:
            if self.config.splits is None:
                return (
                    f"every tree is of the split {TEST_SPLIT!r}, which is kept for evaluation; "
                    f"explore the split 'train', or pass splits=({TEST_SPLIT!r},)"
                )
            return f"no tree is of the splits {', '.join(self.config.splits)}"
        left_out = {n: c for n, c in sorted(counts.items()) if c and n not in ("trees",)}
        reasons = ", ".join(f"{name} {count}" for name, count in left_out.items())
        if self.config.keep == "all" and not counts["solved_trees"]:
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


def own_prompts(run: RunReader, given: PromptSet | None = None) -> dict[str, PromptSet]:
    """The prompt sets that a run was made with, by the id of the environment.

    Args:
        run: the run.
        given: one of them, where it is not found by its name.

    Raises:
        UsageError: if the run names none, or there is no set of that name.
        ConfigMismatch: if the set of that name has another hash, or `given` is none of them.
    """
    made = run.prompt_sets()
    if not made:
        raise UsageError(
            f"{run.folder}: this run does not say which prompts it was made with; only runs of "
            "explore and bench can be distilled"
        )
    if given is None:
        return {env_id: run.prompts(env_id) for env_id in made}
    prompts = as_prompt_set(given)
    same = {
        e for e, one in made.items() if (one["name"], one["hash"]) == (prompts.name, prompts.hash)
    }
    if not same:
        names = ", ".join(sorted({f"{one['name']!r} ({one['hash']})" for one in made.values()}))
        raise ConfigMismatch(
            f"{run.folder}: made with the prompts {names}; given are "
            f"{prompts.name!r} ({prompts.hash}), and rows with other prompts than were acted on "
            "would train the wrong thing"
        )
    return {env_id: prompts if env_id in same else run.prompts(env_id) for env_id in made}


def own_template_arguments(run: RunReader) -> dict[str, Json]:
    """Arguments of the chat template that a run's policy was prompted with; {} without any."""
    return check_arguments(run.config["agent"].get("chat_template_kwargs"))


class _SeenHashes:
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
