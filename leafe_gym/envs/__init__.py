"""Environments that come with the package, registered by string so that none is imported here."""

from __future__ import annotations

import gymnasium as gym

BUILTIN = {
    "leafe/Sokoban-v0": "leafe_gym.envs.sokoban.env:SokobanEnv",
    "leafe/FrozenLake-v0": "leafe_gym.envs.adapters.toy_text:FrozenLakeEnv",
    "leafe/Taxi-v0": "leafe_gym.envs.adapters.toy_text:TaxiEnv",
    "leafe/CliffWalking-v0": "leafe_gym.envs.adapters.toy_text:CliffWalkingEnv",
    "leafe/Blackjack-v0": "leafe_gym.envs.adapters.toy_text:BlackjackEnv",
    "leafe/CodeContests-v0": "leafe_gym.envs.code.contests:CodeContestsEnv",
    "leafe/MBPP-v0": "leafe_gym.envs.code.mbpp:MbppEnv",
    "leafe/PythonREPL-v0": "leafe_gym.envs.code.repl:PythonReplEnv",
    "leafe/TextArena-v0": "leafe_gym.envs.adapters.textarena:TextArenaEnv",
    "leafe/Gem-v0": "leafe_gym.envs.adapters.gem:GemEnv",
    "leafe/ReasoningGym-v0": "leafe_gym.envs.adapters.reasoning_gym:ReasoningGymEnv",
    "leafe/TextWorldExpress-v0": "leafe_gym.envs.textworld_express.env:TextWorldExpressEnv",
    "leafe/TextWorld-v0": "leafe_gym.envs.textworld.env:TextWorldEnv",
    "leafe/Jericho-v0": "leafe_gym.envs.textworld.jericho:JerichoEnv",
    "leafe/ALFWorld-v0": "leafe_gym.envs.alfworld.env:ALFWorldEnv",
    "leafe/ScienceWorld-v0": "leafe_gym.envs.scienceworld.env:ScienceWorldEnv",
    "leafe/WebShop-v0": "leafe_gym.envs.webshop.env:WebShopEnv",
}
"""Gymnasium id -> entry point."""

ELSEWHERE = {
    "leafe/OpenEnv-v0": "leafe_gym.envs.adapters.openenv:OpenEnvEnv",
    "leafe/Tau2-v0": "leafe_gym.envs.adapters.tau2:Tau2Env",
    "leafe/Verifiers-v0": "leafe_gym.envs.adapters.verifiers:VerifiersEnv",
}
"""The same for those whose library needs an environment of its own."""


def register_builtin() -> None:
    """Make these ids known to `gymnasium.make`; safe to call twice."""
    for env_id, entry_point in {**BUILTIN, **ELSEWHERE}.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)
