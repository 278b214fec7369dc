"""Adding a named part from outside: a policy, prompt set, method, rollback backend or sandbox.

A package adds a part for every process through an entry point; a program adds one for its own
process with `register`. Both are then found wherever a name is accepted, in Python and on the
command line. What is registered may be a class, a factory (a function that makes the part) or the
part itself, as the table says:

| kind | entry-point group | what it is |
| --- | --- | --- |
| "policy" | leafe_gym.policies | a `Policy`, its class, a factory, or a function of chat messages |
| "prompts" | leafe_gym.prompts | a `PromptSet`, its class, or a factory |
| "method" | leafe_gym.methods | a class of agents, or a factory |
| "backend" | leafe_gym.backends | a class of rollback backends, or a factory |
| "sandbox" | leafe_gym.sandboxes | a class of sandboxes, or a factory |

Example:
    >>> def shout(messages):
    ...     return messages[-1]["content"].upper()
    >>> register("policy", "shout", shout)
    >>> import leafe_gym as lg
    >>> lg.policy("shout").name
    'shout'
"""

from __future__ import annotations

import re
from typing import Any, Literal

from leafe_gym._registry import Registry
from leafe_gym.errors import UsageError

Kind = Literal["policy", "prompts", "method", "backend", "sandbox"]

REGISTRIES: dict[str, Registry] = {
    "policy": Registry(
        "leafe_gym.policies",
        "policy",
        {
            "scripted": "leafe_gym.testing.players.sokoban:SokobanPlayer",
            "tiny": "leafe_gym.tiny.policy:tiny_policy",
            "transformers": "leafe_gym.policies.transformers:transformers_policy",
            "vllm": "leafe_gym.policies.vllm:VLLMPolicy",
            "openai": "leafe_gym.policies.openai:OpenAIPolicy",
            "scripted-coder": "leafe_gym.testing.players.coder:coder",
            "scripted-follower": "leafe_gym.testing.players.follower:Follower",
            "scripted-shopper": "leafe_gym.testing.players.shopper:Shopper",
        },
    ),
    "prompts": Registry(
        "leafe_gym.prompts",
        "prompt set",
        {
            "chat": "leafe_gym.prompts.chat:ChatPrompts",
            "code": "leafe_gym.prompts.code:CodePrompts",
            "fresh": "leafe_gym.prompts.fresh:FreshPrompts",
            "program": "leafe_gym.prompts.program:ProgramPrompts",
            "react": "leafe_gym.prompts.react:ReactPrompts",
            "shell": "leafe_gym.prompts.shell:ShellPrompts",
            "shop": "leafe_gym.prompts.shop:ShopPrompts",
            "tiny": "leafe_gym.prompts.tiny:TinyPrompts",
            "tiny-multiturn": "leafe_gym.prompts.tiny_multiturn:TinyMultiTurnPrompts",
        },
    ),
    "method": Registry(
        "leafe_gym.methods",
        "method",
        {
            "is": "leafe_gym.agents.agent:IndependentSamplingAgent",
            "ir": "leafe_gym.agents.agent:IterativeRefinementAgent",
            "tree": "leafe_gym.agents.agent:ReflectiveTreeAgent",
            "best-first": "leafe_gym.agents.agent:BestFirstAgent",
        },
    ),
    "backend": Registry(
        "leafe_gym.backends",
        "rollback backend",
        {
            "native": "leafe_gym.wrappers.backends.native:NativeBackend",
            "pickle": "leafe_gym.wrappers.backends.pickled:PickleBackend",
            "deepcopy": "leafe_gym.wrappers.backends.copied:DeepcopyBackend",
            "replay": "leafe_gym.wrappers.backends.replay:ReplayBackend",
            "fork": "leafe_gym.wrappers.backends.fork:ForkBackend",
            "docker": "leafe_gym.wrappers.backends.docker:DockerBackend",
        },
    ),
    "sandbox": Registry(
        "leafe_gym.sandboxes",
        "sandbox",
        {
            "embedded": "leafe_gym.sandbox.embedded.sandbox:EmbeddedSandbox",
            "docker": "leafe_gym.sandbox.docker.sandbox:DockerSandbox",
            "docker-commit": "leafe_gym.sandbox.docker.sandbox:DockerCommitSandbox",
            "unsandboxed": "leafe_gym.sandbox.unsandboxed:UnsandboxedSandbox",
        },
    ),
}
"""Kind -> its registry."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


def register(kind: Kind, name: str, value: Any) -> None:
    """Make `value` known by `name` in this process.

    Args:
        kind: "policy", "prompts", "method", "backend" or "sandbox".
        name: letters, digits, "_", "-" and "."; it takes precedence over an installed part of the
            same name.
        value: see the table of the module; checked when it is first used.

    Raises:
        UsageError: for an unknown kind, a name of another form, or a value that is None.
    """
    if not isinstance(kind, str) or kind not in REGISTRIES:
        raise UsageError(f"kind={kind!r}: expected one of {', '.join(REGISTRIES)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"name={name!r}: expected letters, digits, '_', '-' and '.'")
    if value is None:
        raise UsageError("value=None: expected a class, a factory or an object")
    REGISTRIES[kind].register(name, value)
