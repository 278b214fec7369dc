"""Which rows are taken from a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from leafe_gym.config import Config, NonNegativeInt, RandomSeed

TEST_SPLIT = "test"


class RowConfig(Config):
    """Which steps of a run's trees become training rows; the defaults are ours.

    Raises:
        UsageError: for an unknown field or a value outside its range.

    Example:
        >>> RowConfig.paper().keep, RowConfig(per_task=3).rehearsal
        ('all', 0.2)
    """

    keep: Literal["successful", "improved", "all"] = "successful"
    """Branches that give counterfactual rows: "successful" (won), "improved" (won or ended with a
    higher score where the parent did not; the environment's `score`, else the sum of rewards of
    attempts that reached the end of the episode) or "all" (paper)."""

    per_task: NonNegativeInt | None = 3
    """Most counterfactual rows a task, chosen at random; None for all. Paper: 3."""

    rehearsal: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Probability that a successful rollout is rehearsed. Paper: 0.2."""

    target: Literal["reply", "answer", "action", "reasoning+answer"] = "reply"
    """"reply" trains the reply as the run stores it (thinking that the policy separated is not in
    it), "answer" the reply without thinking, "action" the shortest answer that the prompt set
    parses as the same action, "reasoning+answer" the thinking and the reply."""

    teacher: bool = False
    """Store the prompt with the experience beside each counterfactual row, for training with
    `objective="kl"`."""

    hidden: Literal["drop", "weigh", "keep"] = "drop"
    """What becomes of rows whose action holds knowledge that its prompt lacks and the policy could
    not reach, such as a code that only the experience tells: left out, given the weight 0.1 (with
    a `score`, the likelihood of the action without the experience relative to that with it), or
    kept as they are."""

    splits: tuple[str, ...] | None = None
    """Splits whose tasks are used; None for all but "test"."""

    seed: RandomSeed = 0
    """Seed of all random choices. Each is derived from it and the task's id, so that the choices
    for a task do not depend on the other tasks."""

    dedupe: bool = True
    """Keep one of several rows of a kind with the same prompt and target."""

    balance: NonNegativeInt | None = None
    """Most rehearsed rollouts a task; None for no limit."""

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Stage 2 as published: all branches, three rows a task, 20 % rehearsal."""
        return cls(keep="all", per_task=3, rehearsal=0.2).replace(**changes)

    @classmethod
    def verified(cls, **changes: Any) -> Self:
        """For `objective="kl"`: branches that were executed and did better than their parent."""
        return cls(keep="improved", teacher=True).replace(**changes)

    def takes(self, split: str) -> bool:
        """Whether tasks of a split give rows."""
        return split != TEST_SPLIT if self.splits is None else split in self.splits

    @field_validator("splits", mode="before")
    @classmethod
    def _tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
