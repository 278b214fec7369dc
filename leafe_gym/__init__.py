"""Trees of recovered mistakes for training language-model agents (LEAFE, arXiv 2603.16843).

The public names below load on first use; importing the package registers its environments with
Gymnasium and loads nothing heavier than that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from leafe_gym.envs import register_builtin

if TYPE_CHECKING:
    from leafe_gym.agents.agent import Agent as Agent
    from leafe_gym.agents.agent import BestFirstAgent as BestFirstAgent
    from leafe_gym.agents.agent import IndependentSamplingAgent as IndependentSamplingAgent
    from leafe_gym.agents.agent import IterativeRefinementAgent as IterativeRefinementAgent
    from leafe_gym.agents.agent import ReflectiveTreeAgent as ReflectiveTreeAgent
    from leafe_gym.agents.config import AgentConfig as AgentConfig
    from leafe_gym.agents.env_pool import make_env as make_env
    from leafe_gym.budget import Budget as Budget
    from leafe_gym.budget import Spend as Spend
    from leafe_gym.envs.space import TextSpace as TextSpace
    from leafe_gym.envs.tasks import tasks as tasks
    from leafe_gym.envs.text_env import Opening as Opening
    from leafe_gym.envs.text_env import StepOutcome as StepOutcome
    from leafe_gym.envs.text_env import TextEnv as TextEnv
    from leafe_gym.evals.config import EvalConfig as EvalConfig
    from leafe_gym.evals.evaluate import Evaluation as Evaluation
    from leafe_gym.evals.evaluate import aevaluate as aevaluate
    from leafe_gym.evals.evaluate import evaluate as evaluate
    from leafe_gym.evals.recovery import RecoveryPool as RecoveryPool
    from leafe_gym.evals.recovery import evaluate_recovery as evaluate_recovery
    from leafe_gym.evals.recovery import recovery_pool as recovery_pool
    from leafe_gym.exploration.config import ExploreConfig as ExploreConfig
    from leafe_gym.exploration.engine import aexplore as aexplore
    from leafe_gym.exploration.engine import explore as explore
    from leafe_gym.policies.base import Policy as Policy
    from leafe_gym.policies.base import policy as policy
    from leafe_gym.prompts.base import PromptSet as PromptSet
    from leafe_gym.prompts.base import prompt_set as prompt_set
    from leafe_gym.registry import register as register
    from leafe_gym.store.reader import RunReader as RunReader
    from leafe_gym.tree import Branch as Branch
    from leafe_gym.tree import Tree as Tree
    from leafe_gym.types import Completion as Completion
    from leafe_gym.types import Experience as Experience
    from leafe_gym.types import Message as Message
    from leafe_gym.types import Reflection as Reflection
    from leafe_gym.types import Sampling as Sampling
    from leafe_gym.types import Snapshot as Snapshot
    from leafe_gym.types import Start as Start
    from leafe_gym.types import Step as Step
    from leafe_gym.types import Task as Task
    from leafe_gym.types import Usage as Usage
    from leafe_gym.wrappers.rollback.episode_log import EpisodeStart as EpisodeStart
    from leafe_gym.wrappers.rollback.episode_log import Transition as Transition
    from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper as RollbackWrapper
    from leafe_gym.wrappers.verification.check import check_rollback as check_rollback

_HOME = {
    "Agent": "leafe_gym.agents.agent",
    "AgentConfig": "leafe_gym.agents.config",
    "BestFirstAgent": "leafe_gym.agents.agent",
    "Branch": "leafe_gym.tree",
    "Budget": "leafe_gym.budget",
    "Completion": "leafe_gym.types",
    "EpisodeStart": "leafe_gym.wrappers.rollback.episode_log",
    "EvalConfig": "leafe_gym.evals.config",
    "Evaluation": "leafe_gym.evals.evaluate",
    "Experience": "leafe_gym.types",
    "ExploreConfig": "leafe_gym.exploration.config",
    "IndependentSamplingAgent": "leafe_gym.agents.agent",
    "IterativeRefinementAgent": "leafe_gym.agents.agent",
    "Message": "leafe_gym.types",
    "Opening": "leafe_gym.envs.text_env",
    "Policy": "leafe_gym.policies.base",
    "PromptSet": "leafe_gym.prompts.base",
    "RecoveryPool": "leafe_gym.evals.recovery",
    "Reflection": "leafe_gym.types",
    "ReflectiveTreeAgent": "leafe_gym.agents.agent",
    "RollbackWrapper": "leafe_gym.wrappers.rollback.wrapper",
    "RunReader": "leafe_gym.store.reader",
    "Sampling": "leafe_gym.types",
    "Snapshot": "leafe_gym.types",
    "Spend": "leafe_gym.budget",
    "Start": "leafe_gym.types",
    "Step": "leafe_gym.types",
    "StepOutcome": "leafe_gym.envs.text_env",
    "Task": "leafe_gym.types",
    "TextEnv": "leafe_gym.envs.text_env",
    "TextSpace": "leafe_gym.envs.space",
    "Transition": "leafe_gym.wrappers.rollback.episode_log",
    "Tree": "leafe_gym.tree",
    "Usage": "leafe_gym.types",
    "aevaluate": "leafe_gym.evals.evaluate",
    "aexplore": "leafe_gym.exploration.engine",
    "check_rollback": "leafe_gym.wrappers.verification.check",
    "evaluate": "leafe_gym.evals.evaluate",
    "evaluate_recovery": "leafe_gym.evals.recovery",
    "explore": "leafe_gym.exploration.engine",
    "make_env": "leafe_gym.agents.env_pool",
    "policy": "leafe_gym.policies.base",
    "prompt_set": "leafe_gym.prompts.base",
    "recovery_pool": "leafe_gym.evals.recovery",
    "register": "leafe_gym.registry",
    "tasks": "leafe_gym.envs.tasks",
}
"""Public name -> the module it lives in."""

__all__ = sorted(_HOME)

register_builtin()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leafe_gym' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
