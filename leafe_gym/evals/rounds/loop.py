"""`run_rounds`: explore, distil, train, evaluate, and again with the trained model.

One folder holds everything; each stage resumes where it was, so the same call goes on after any
interruption, and a larger number of rounds adds to the earlier ones:

    base/rollouts, base/pool          the base on the validation tasks
    round-1/run, training, rollouts   exploration, training and validation of the first round
    rounds.json                       the report, rewritten after every round
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leafe_gym._files import read_text, write_text
from leafe_gym.agents.config import AgentConfig
from leafe_gym.arguments import require_instance, require_path, whole_number
from leafe_gym.budget import Budget
from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.distill.training.mixed_rows import mixed_rows
from leafe_gym.errors import NoRows, UsageError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.evals.evaluate import evaluate
from leafe_gym.evals.recovery import RecoveryPool, evaluate_recovery, recovery_pool
from leafe_gym.evals.rounds.config import RoundsConfig
from leafe_gym.evals.rounds.health import (
    ExplorationGain,
    RoundHealth,
    collapse,
    diversity,
    exploration_gain,
)
from leafe_gym.evals.samplers import make_agent
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.exploration.engine import explore
from leafe_gym.policies.base import Policy, policy
from leafe_gym.seeds import derive_seed
from leafe_gym.store.reader import RunReader, finished_before
from leafe_gym.types import Json, Task

REPORT = "rounds.json"
Tick = Callable[..., None]
Progress = Callable[[str, int | None], Tick]
"""Called at the start of a stage with its title and its number of steps, where it is known; what it
returns is called after each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStages:
    """How each stage of a round is done.

    Attributes:
        budget: of each explored task.
        method: of exploring, see `make_agent`.
        agent: how attempts are made.
        explore: of the run; its seed is replaced by one of the round.
        rows: which rows are taken.
        train: how a model is trained; its seed is replaced likewise.
        evaluate: how rollouts are sampled.
        concurrency: attempts or rollouts at the same time.
        workers: processes that explore, see `explore`.
        policy: makes the policy of a model: of the base's name, or a training's folder.
    """

    budget: Budget
    method: str = "tree"
    agent: AgentConfig = field(default_factory=AgentConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    rows: RowConfig = field(default_factory=RowConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvalConfig = field(default_factory=EvalConfig)
    concurrency: int = 16
    workers: int = 0
    policy: Callable[[str], Policy] = policy


@dataclass(slots=True, kw_only=True)
class RoundsReport:
    """What came out.

    Attributes:
        healths: the base, then the model of each round, on the validation tasks.
        gains: what experiences and rollbacks added in each exploration.
        rows: rows that each training had.
        alarms: what looked like a collapse, by round.
        stopped: why no further round was made; "" if all were.
        no_recovery: why recovery@k was not measured; "" if it was.
    """

    healths: list[RoundHealth] = field(default_factory=list)
    gains: list[ExplorationGain] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    alarms: dict[int, str] = field(default_factory=dict)
    stopped: str = ""
    no_recovery: str = ""

    @property
    def best(self) -> RoundHealth:
        """The round with the highest Pass@k, the earliest of equals; 0 is the base."""
        return max(self.healths, key=lambda one: (one.pass_k.mean, -one.round))

    def as_dict(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "rounds": [one.as_dict() for one in self.healths],
            "explorations": [asdict(one) for one in self.gains],
            "rows": self.rows,
            "alarms": {str(number): reason for number, reason in self.alarms.items()},
            "stopped": self.stopped,
            "no_recovery": self.no_recovery,
            "best": {"round": self.best.round, "model": self.best.model},
        }


def run_rounds(
    model: str | Path,
    tasks: Sequence[Task],
    validation: Sequence[Task],
    *,
    count: int,
    stages: RoundStages,
    out: str | Path,
    config: RoundsConfig = RoundsConfig(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> RoundsReport:
    """Make `count` rounds; the same call with the same `out` resumes.

    Args:
        model: the base: a folder or name that can be trained and that `stages.policy` takes.
        tasks: explored in each round.
        validation: other tasks, on which the base and every round's model are evaluated.
        count: number of rounds, >= 1.
        stages: how each stage is done.
        out: folder of all rounds.
        config: how rounds follow each other.
        progress: told about stages and their steps.

    Raises:
        UsageError: for arguments that cannot be used, tasks that are in both lists, or a model
            that cannot be trained so.
        ConfigMismatch: if `out` holds rounds with other settings.
        RunIncomplete: if some tasks stay open; the same call tries them again.
    """
    require_instance("stages", stages, RoundStages)
    require_instance("config", config, RoundsConfig)
    whole_number("count", count, low=1)
    if not tasks or not validation:
        raise UsageError("rounds need tasks to explore and validation tasks")
    if shared := {task.id for task in tasks} & {task.id for task in validation}:
        raise UsageError(f"{min(shared)} is explored and validated on: use another split")
    rounds = _Rounds(str(model), tasks, validation, stages, require_path("out", out), config)
    if progress is not None:
        rounds.progress = progress
    return rounds.run(count)


class _Rounds:
    def __init__(
        self,
        base: str,
        tasks: Sequence[Task],
        validation: Sequence[Task],
        stages: RoundStages,
        out: Path,
        config: RoundsConfig,
    ) -> None:
        self.base, self.tasks, self.validation = base, tasks, validation
        self.stages, self.out, self.config = stages, out, config
        self.report = RoundsReport()
        self.progress: Progress = lambda *_: lambda *_: None
        self._pool: RecoveryPool | None = None

    def run(self, count: int) -> RoundsReport:
        """Make the rounds, up to one that looks like a collapse."""
        self._pool = self._recovery_pool()
        self._validate(0, self.base)
        model = self.base
        for number in range(1, count + 1):
            self._explore(number, model)
            try:
                model = self._train(number, model)
            except NoRows as error:
                self.report.stopped = f"round {number}: {error}"
                break
            self._validate(number, model)
            if reason := collapse(self.report.healths, self.config):
                self.report.alarms[number] = reason
                if self.config.on_collapse == "stop":
                    self.report.stopped = f"round {number} looks like a collapse: {reason}"
                    break
        self._write()
        return self.report

    def _ticking(self, title: str, total: int, folder: Path) -> Tick:
        """What to call when a task is finished; tasks that an earlier call finished count."""
        tick = self.progress(title, total)
        for _ in range(finished_before(folder, total)[0]):
            tick()
        return tick

    def _explore(self, number: int, model: str) -> None:
        stages = self.stages
        agent = make_agent(stages.method, stages.policy(model), stages.agent)
        run = explore(
            agent, self.tasks, budget=stages.budget, out=self._folder(number) / "run",
            config=stages.explore.replace(seed=self._seed(number, "explore")),
            concurrency=stages.concurrency, workers=stages.workers,
            progress=self._ticking(
                f"round {number}: exploring", len(self.tasks), self._folder(number) / "run"
            ),
        )  # fmt: skip
        with run:
            self.report.gains.append(exploration_gain(run))

    def _train(self, number: int, model: str) -> str:
        """Train on the rows so far; returns the model.

        Raises:
            NoRows: if there are no rows.
        """
        from leafe_gym.distill.training.train import train

        first = 1 if self.config.rows_from == "all" else number
        runs = [self._folder(earlier) / "run" for earlier in range(first, number + 1)]
        asked = self.stages.train
        found = mixed_rows(
            runs, self.stages.rows, model,
            only_improved=asked.objective == "kl" and asked.only_improved,
        )  # fmt: skip
        self.report.rows.append(len(found))
        tick = self.progress(f"round {number}: training on {len(found)} rows", None)
        result = train(
            found,
            model=model if self.config.start_from == "last" else self.base,
            out=self._folder(number) / "training",
            config=self.stages.train.replace(seed=self._seed(number, "train") % 2**31),
            progress=lambda line, steps: tick(line, steps),
        )
        return str(result.model)

    def _validate(self, number: int, model: str) -> None:
        made, samples = self.stages.policy(model), self.config.samples
        folder = self._folder(number)
        found = evaluate(
            made, self.validation, samples=samples, out=folder / "rollouts",
            progress=self._ticking(
                _title(number, "validating"), len(self.validation), folder / "rollouts"
            ),
            **self._rollouts(),
        )  # fmt: skip
        recovered = None
        if self._pool is not None:
            recovered = evaluate_recovery(
                made, self._pool, samples=samples, out=folder / "recovery",
                progress=self._ticking(
                    _title(number, "recovering"), len(self._pool.mistakes), folder / "recovery"
                ),
                **self._rollouts(),
            ).pass_at(samples)[samples]  # fmt: skip
        with RunReader(folder / "rollouts") as run:
            entropy, distinct = diversity(run)
        passed = found.pass_at(1, samples)
        self.report.healths.append(
            RoundHealth(
                round=number, model=model, k=samples, pass_1=passed[1], pass_k=passed[samples],
                recovery=recovered, entropy=entropy, distinct=distinct,
            )
        )  # fmt: skip
        if len(self.report.healths) > self._reported():
            self._write()

    def _recovery_pool(self) -> RecoveryPool | None:
        """The base's mistakes, or None with the reason in the report."""
        if not self.config.recovery:
            self.report.no_recovery = "not asked for"
            return None
        try:
            pool = recovery_pool(
                self.stages.policy(self.base), self.validation, out=self._folder(0) / "pool",
                progress=self._ticking(
                    "base: looking for mistakes", len(self.validation), self._folder(0) / "pool"
                ),
                **self._rollouts(),
            )  # fmt: skip
        except UsageError as error:
            self.report.no_recovery = str(error)
            return None
        if not pool.mistakes:
            self.report.no_recovery = "the base made no mistake that can be recovered from"
            return None
        return pool

    def _rollouts(self) -> dict[str, Any]:
        """The same random numbers in every round, so that rounds are compared pairwise."""
        return {
            "seed": derive_seed(self.config.seed, "validation"),
            "config": self.stages.evaluate,
            "concurrency": self.stages.concurrency,
            "workers": self.stages.workers,
        }

    def _seed(self, number: int, stage: str) -> int:
        return derive_seed(self.config.seed, f"round {number}", stage)

    def _folder(self, number: int) -> Path:
        return self.out / (f"round-{number}" if number else "base")

    def _reported(self) -> int:
        """Rounds in the report of an earlier call; a call that fails early leaves it as it is."""
        try:
            return len(json.loads(read_text(self.out / REPORT))["rounds"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _write(self) -> None:
        write_text(self.out / REPORT, json.dumps(self.report.as_dict(), indent=2) + "\n")


def _title(number: int, what: str) -> str:
    return f"round {number}: {what}" if number else f"base: {what}"
