"""What other instances in the same process do while one instance continues its episode.

State of a class, of a module or of the process is one for all instances. It may be written by a
step, by a reset, by the constructor or by `close`, so the other instances do all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from leafe_gym.wrappers.rollback.controller import RollbackController
from leafe_gym.wrappers.verification.action_script import ActionScript
from leafe_gym.wrappers.verification.instance_factory import close_quietly

_MOST_RESETS = 6
"""Resets of other instances during one continuation; further calls only step."""

_MOST_NEW = 2


class Disturbance:
    """A second instance, and further ones that are made and closed again.

    Args:
        new: makes an instance.
        script: what a trial does; the other instances take the same actions.
        few: whether resets are slow, so that there is one only.
        closes: whether instances may be closed while another one is in use.
    """

    def __init__(
        self,
        new: Callable[[], RollbackController],
        script: ActionScript,
        *,
        few: bool = False,
        closes: bool = True,
    ) -> None:
        self._new = new
        self._script = script
        self._few = few
        self._closes = closes
        self._resets = 1 if few else _MOST_RESETS
        self._made = 1 if few else _MOST_NEW
        self.second = new()
        self.reset(self.second, 1)
        self._acting = self._act()

    def reset(self, controller: RollbackController, ahead: int) -> None:
        """Reset with another seed, or the episode's where the environment does not know that."""
        script = self._script
        try:
            controller.reset(script.seed + ahead, script.options)
        except Exception:  # noqa: BLE001 - an environment need not know every seed
            controller.reset(script.seed, script.options)

    def act(self) -> None:
        """One act of another instance: a step, a reset, or making, using and closing a third."""
        next(self._acting)

    def come_and_go(self) -> None:
        """Make an instance, use it and close it; what it raises does not matter."""
        if not self._made:
            return
        self._made -= 1
        with suppress(Exception):
            third = self._new()
            if not self._few:
                self.reset(third, 2)
                for action in self._script.second[:1]:
                    third.step(action)
            if self._closes:
                close_quietly(third.env)

    def _act(self) -> Iterator[None]:
        script = self._script
        actions = (*script.prefix, *script.second, *script.first)
        number = ahead = 0
        while True:
            # Steps outnumber the others, so that the state of a longer episode is seen as well.
            for _ in range(1 if self._resets else len(actions)):
                with suppress(Exception):  # its outcome does not matter
                    self.second.step(actions[number % len(actions)])
                number += 1
                yield
            if self._resets:
                self._resets -= 1
                ahead = (ahead + 1) % 3
                with suppress(Exception):
                    self.reset(self.second, ahead)
                yield
            if number % 3 == 0:
                self.come_and_go()
                yield
