"""Options that name a model, the same on every verb that takes one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from leafe_gym.cli.options import use_current_folder
from leafe_gym.cli.screen import err, plain
from leafe_gym.config import Config
from leafe_gym.errors import UsageError
from leafe_gym.policies.base import Policy, policy
from leafe_gym.policies.naming import ENGINES
from leafe_gym.types import Json


class ModelOptions(Config):
    """What acts; how it is sampled is said by the fields of `AgentConfig` and `EvalConfig`."""

    model: str = "scripted"
    """A registered name (scripted, tiny), module:function-or-class, the folder of a model or LoRA
    adapter, a name on the Hugging Face hub, or with --base-url the name of a served model."""
    base_url: tuple[str, ...] = ()
    """URL of an OpenAI-compatible server, such as http://localhost:8000/v1. Repeatable, for several
    that serve the same model."""
    engine: Literal["transformers", "vllm"] | None = None
    """What runs a model in this process; by default transformers."""
    adapter: str | None = None
    """Folder of a LoRA adapter for the model."""
    chat_template_kwargs: str | None = None
    """Further arguments of the chat template, as a JSON object."""
    policy: Mapping[str, Json] = {}
    """Further argument of the policy's constructor; VALUE is JSON or plain text. Repeatable."""


class ReflectOptions(Config):
    """What reflects, if it is another model."""

    reflect_model: str | None = None
    """Model that reflects in place of --model, named likewise."""
    reflect_base_url: tuple[str, ...] = ()
    """URL of the server of --reflect-model. Repeatable."""
    reflect_policy: Mapping[str, Json] = {}
    """Further argument of that policy's constructor, such as adapter=PATH. Repeatable."""


def make_policy(given: ModelOptions, named_by: str = "model") -> Policy:
    """The policy that the options describe.

    Args:
        given: the options.
        named_by: option that holds the model's name, for messages.

    Raises:
        UsageError: if there is none, or an option does not fit to it; names the option.
    """
    options: dict[str, Any] = {"engine": given.engine, "adapter": given.adapter}
    if given.chat_template_kwargs is not None:
        options["chat_template_kwargs"] = _json_object(given.chat_template_kwargs)
    if named_by == "model" and "model" not in given.model_fields_set:
        _tell_of_default(given)
    return _made(given.model, given.base_url, options, given.policy, named_by, "")


def _tell_of_default(given: ModelOptions) -> None:
    """Say what acts where no model is named.

    Raises:
        UsageError: if another option is about a model.
    """
    for option in ("base_url", "engine", "adapter", "chat_template_kwargs"):
        if getattr(given, option):
            raise UsageError(f"{_flag(option)}: name the model, too: --model NAME")
    err.print(
        plain(
            f"No --model: the policy {given.model!r} acts, a program that plays Sokoban and makes "
            "mistakes. Name a model by --model NAME --base-url URL, or --model FOLDER"
        ),
        soft_wrap=True,
    )


def make_reflect_policy(given: ReflectOptions) -> Policy | None:
    """The policy that reflects; None if it is the one that acts.

    Raises:
        UsageError: see `make_policy`.
    """
    if given.reflect_model is None:
        for option, value in (
            ("base-url", given.reflect_base_url),
            ("policy", given.reflect_policy),
        ):
            if value:
                raise UsageError(f"--reflect-{option}: name the model, too: --reflect-model NAME")
        return None
    return _made(
        given.reflect_model, given.reflect_base_url, {}, given.reflect_policy, "reflect_model",
        "reflect_",
    )  # fmt: skip


def _made(
    model: str,
    urls: tuple[str, ...],
    options: Mapping[str, Any],
    more: Mapping[str, Json],
    named_by: str,
    prefix: str,
) -> Policy:
    """A policy; `prefix` is that of its options' names."""
    flag = _flag(named_by)
    if model in ("openai", *ENGINES) and "model" not in more:
        server = f" {_flag(prefix + 'base_url')} URL" if model == "openai" else ""
        raise UsageError(f"{flag} {model}: name the model itself, {flag} NAME{server}")
    every = {name: value for name, value in options.items() if value is not None}
    if urls:
        every["base_url"] = urls[0] if len(urls) == 1 else list(urls)
    twice = sorted(every.keys() & more.keys())
    if twice:
        raise UsageError(f"{_flag(prefix + 'policy')} {twice[0]}: give it as {_flag(twice[0])}")
    use_current_folder(model)
    try:
        return policy(model, **every, **more)
    except UsageError as error:
        message = _with_flags(str(error), every, prefix)
        message = _with_flags(message, more, prefix, _flag(prefix + "policy") + " ")
        raise UsageError(f"{flag} {model}: {message}") from None


def _with_flags(message: str, names: Iterable[str], prefix: str, before: str = "") -> str:
    """A message in which the names of options stand as they are written on the command line."""
    for name in names:
        flag = before + name if before else _flag(prefix + name)
        message = message.replace(f"'{name}'", flag)
        message = message.replace(f" {name}=", f" {flag} ")
        if message.startswith(f"{name}="):
            message = flag + " " + message.removeprefix(f"{name}=")
    return message


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _json_object(text: str) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--chat-template-kwargs {text[:200]}: expected a JSON object")
    return found
