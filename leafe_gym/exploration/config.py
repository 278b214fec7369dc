"""`ExploreConfig`: what decides the content of a run, beside agent, tasks and budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SkipValidation, field_serializer

from leafe_gym.config import Config, RandomSeed
from leafe_gym.wrappers.backends.base import Backend

Stop = Literal["solved", "budget"]


class ExploreConfig(Config):
    """Configuration of `explore`.

    Raises:
        UsageError: for an unknown field or a value outside its range.
    """

    seed: RandomSeed = 0
    """All sampling seeds derive from it, together with each task's id."""
    stop: Stop = "budget"
    """When a task ends: at its first success, or when its budget is used up."""
    backend: SkipValidation[str | Backend] = "auto"
    """Rollback backend of each environment, by name or as an object."""
    env_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 600.0
    """Seconds a step, reset or restore may take before its attempt ends; None for no limit."""

    @field_serializer("backend")
    def _backend_name(self, value: str | Backend) -> str:
        return value if isinstance(value, str) else value.name
