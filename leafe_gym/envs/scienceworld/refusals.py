"""Which answers of the simulator refuse an action."""

from __future__ import annotations

import re

_REFUSES = re.compile(
    r"^(No known action matches|Unknown action|Ambiguous request|<?ERROR)"
    r"|^(I'm not sure|It's not clear|You can't|You must|There is nothing in|That can't|"
    r"That object (does not|already)|That is already|Something can't|Connections must|"
    r"[^\n]*( is (not|already) | isn't open| can't be | appears broken| must be disconnected|"
    r" does not contain any))[^\n]*$"
)


def refusal(said: str) -> str:
    """The answer if it refuses an action, "" otherwise."""
    return said if _REFUSES.match(said) else ""
