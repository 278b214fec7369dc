"""Public environments for the conformance table: package, id, and what makes the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MODULES = {"minigrid": "minigrid", "ale-py": "ale_py"}
"""Package -> module that registers its environments."""


@dataclass(frozen=True)
class PublicEnv:
    """One environment.

    Attributes:
        package: on the package index.
        name: for the table.
        id: Gymnasium id.
        kwargs: of `gymnasium.make`.
        actions: some that change something, where samples of the action space would not.
    """

    package: str
    name: str
    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ()


def _plain(package: str, *ids: str) -> list[PublicEnv]:
    return [PublicEnv(package, one, one) for one in ids]


def _text(
    package: str, env_id: str, games: dict[str, tuple[str, ...]], argument: str = "game"
) -> list[PublicEnv]:
    return [
        PublicEnv(package, game, env_id, {argument: game}, actions)
        for game, actions in games.items()
    ]


_MOVES = ("up", "down", "left", "right")
_BOXED = tuple(f"\\boxed{{{move}}}" for move in _MOVES)
_BRACKETS = tuple(f"[{move}]" for move in _MOVES)

PUBLIC: list[PublicEnv] = [
    *_plain(
        "gymnasium",
        "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1",
        "FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1",
        "Taxi-v4", "Blackjack-v1", "LunarLander-v3", "BipedalWalker-v3", "Ant-v5",
        "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "InvertedPendulum-v5", "Pusher-v5",
        "Reacher-v5", "Swimmer-v5", "Walker2d-v5",
    ),
    *_plain(
        "minigrid",
        "MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-Random-6x6-v0", "MiniGrid-FourRooms-v0",
        "MiniGrid-DoorKey-8x8-v0", "MiniGrid-MultiRoom-N4-S5-v0", "MiniGrid-Fetch-8x8-N3-v0",
        "MiniGrid-GoToDoor-8x8-v0", "MiniGrid-PutNear-8x8-N3-v0", "MiniGrid-RedBlueDoors-8x8-v0",
        "MiniGrid-MemoryS11-v0", "MiniGrid-LockedRoom-v0", "MiniGrid-KeyCorridorS4R3-v0",
        "MiniGrid-Unlock-v0", "MiniGrid-UnlockPickup-v0", "MiniGrid-BlockedUnlockPickup-v0",
        "MiniGrid-ObstructedMaze-1Dlhb-v0", "MiniGrid-DistShift1-v0", "MiniGrid-LavaGapS7-v0",
        "MiniGrid-LavaCrossingS9N2-v0", "MiniGrid-SimpleCrossingS9N2-v0",
        "MiniGrid-Dynamic-Obstacles-8x8-v0", "MiniGrid-GoToObject-8x8-N2-v0",
        "BabyAI-GoToRedBall-v0", "BabyAI-GoToLocalS8N7-v0", "BabyAI-PickupLoc-v0",
        "BabyAI-OpenDoorColor-v0", "BabyAI-PutNextLocalS6N4-v0", "BabyAI-UnlockLocal-v0",
        "BabyAI-SynthLoc-v0", "BabyAI-BossLevel-v0",
    ),
    *_plain(
        "ale-py",
        "ALE/Pong-v5", "ALE/Breakout-v5", "ALE/SpaceInvaders-v5", "ALE/MsPacman-v5",
        "ALE/MontezumaRevenge-v5", "ALE/Seaquest-v5",
    ),
    *_text(
        "textarena",
        "leafe/TextArena-v0",
        {
            "2048-v0": _BRACKETS,
            "Bandit-v0": ("[red]", "[blue]", "[green]", "[yellow]", "[purple]"),
            "Blackjack-v0": ("[hit]", "[stand]"),
            "FifteenPuzzle-v0": _BRACKETS,
            "FrozenLake-v0": _BRACKETS,
            "GuessTheNumber-v0": ("[3]", "[7]", "[12]"),
            "Hangman-v0": ("[a]", "[e]", "[s]"),
            "Mastermind-v0": ("[1 2 3 4]", "[4 3 2 1]"),
            "Minesweeper-v0": ("[0 0]", "[3 3]", "[6 1]"),
            "Sokoban-v0": _BRACKETS,
            "TowerOfHanoi-v0": ("[A B]", "[A C]"),
            "Wordle-v0": ("[crane]", "[slots]"),
        },
    ),
    *_text(
        "gem-llm",
        "leafe/Gem-v0",
        {
            "game:GuessTheNumber-v0-easy": ("\\boxed{3}", "\\boxed{7}"),
            "game:Mastermind-v0-easy": ("\\boxed{12}", "\\boxed{21}"),
            "game:Minesweeper-v0-easy": ("\\boxed{reveal 0 0}", "\\boxed{reveal 3 3}"),
            "game:Wordle-v0-easy": ("\\boxed{cra}", "\\boxed{slo}"),
            "game:FifteenPuzzle-v0-easy": _BOXED,
            "game:Hangman-v0-easy": ("\\boxed{a}", "\\boxed{e}"),
            "game:Sudoku-v0-easy": ("\\boxed{1 1 1}", "\\boxed{2 2 2}"),
            "game:TowerofHanoi-v0-easy": ("\\boxed{A B}", "\\boxed{A C}"),
            "game:Game2048-v0-hard": _BOXED,
            "game:Sokoban-v0-easy": _BOXED,
        },
    ),
    *_text(
        "textworld-express",
        "leafe/TextWorldExpress-v0",
        {
            "coin": ("move north", "move south", "open door to north", "inventory"),
            "twc": ("move north", "move south", "inventory"),
            "cookingworld": ("take cookbook", "read cookbook", "open fridge", "inventory"),
        },
    ),
    *_text(
        "reasoning-gym",
        "leafe/ReasoningGym-v0",
        {
            "countdown": ("1", "1 + 2"),
            "spiral_matrix": ("1 2", "[1]"),
            "list_functions": ("1", "[2]"),
        },
        "dataset",
    ),
    *[
        PublicEnv("leafe-gym", one, one)
        for one in ("leafe/Sokoban-v0", "leafe/FrozenLake-v0", "leafe/Taxi-v0")
    ],
]  # fmt: skip
