"""Command-line options generated from configuration classes and docstrings.

Each option is written once: a field of a `Config` (name, type, limits, default, docstring) becomes
a flag, and a plain parameter of a verb takes its help from the `Args:` section of the verb's
docstring. `reflect_every: PositiveInt | None = 10` becomes
`--reflect-every INTEGER|none  ... [1 or more; default: 10]`.

Example:
    >>> class Speed(Config):
    ...     limit: Literal[1, 2, 5] = 1
    ...     '''Most steps a second.'''
    >>> @with_options
    ... def drive(where: str, speed: Speed) -> None:
    ...     '''Drive.
    ...
    ...     Args:
    ...         where: name of a town.
    ...     '''
    ...     print(where, speed.limit)
    >>> drive(where="Rome", limit="5")
    Rome 5
    >>> drive(where="Rome", limit="4")
    Traceback (most recent call last):
    leafe_gym.errors.UsageError: --limit 4: expected one of 1, 2, 5
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import SkipValidation, TypeAdapter
from pydantic.fields import FieldInfo

from leafe_gym.config import Config
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

Verb = TypeVar("Verb", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Flags:
    """How the fields of a configuration become options.

    Attributes:
        without: fields that get none.
        flags: field -> flag in place of `--field-name`.
        defaults: field -> what the help shows as its default, where the verb sets another one.
    """

    without: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)


class Given(dict[str, Any]):
    """Values of the fields that were given on the command line; the others are absent.

    A verb that annotates a parameter as `Annotated[Given, SomeConfig]` gets these instead of a
    configuration, to put them on top of other defaults.
    """


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """One option.

    Attributes:
        name: parameter or field it sets.
        flag: such as "--max-depth".
        kinds: plain types it accepts: bool, int, float, str, NoneType, list or dict.
        choices: the only values, where they are listed.
        limits: limits of a number, in words.
        adapter: checks a converted value; None for no check beyond `kinds`.
        help: with limits and default.
    """

    name: str
    flag: str
    kinds: tuple[type, ...]
    choices: tuple[Json, ...]
    limits: tuple[str, ...]
    adapter: TypeAdapter[Any] | None
    help: str

    @property
    def metavar(self) -> str:
        """What stands for the value in the help."""
        words = {int: "INTEGER", float: "NUMBER", str: "TEXT", dict: "KEY=VALUE", list: "TEXT"}
        shown = [str(choice) for choice in self.choices]
        shown += [words[kind] for kind in self.kinds if kind in words and not self.choices]
        return "|".join([*dict.fromkeys(shown), *(["none"] if NoneType in self.kinds else [])])

    @property
    def parameter(self) -> inspect.Parameter:
        """The parameter that typer makes an option of; None means that it was not given."""
        annotation: Any = str | None
        if set(self.kinds) <= {bool, NoneType}:
            annotation, declared = bool | None, f"{self.flag}/--no-{self.flag[2:]}"
            option = typer.Option(declared, help=self.help, show_default=False)
        else:
            if list in self.kinds or dict in self.kinds:
                annotation = list[str] | None
            option = typer.Option(
                self.flag, help=self.help, metavar=self.metavar, show_default=False
            )
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[annotation, option],
        )

    def read(self, given: str | bool | list[str]) -> Any:
        """The value that a text stands for.

        Raises:
            UsageError: if it is not of the option's type or range; names the flag.
        """
        shown = " ".join(given) if isinstance(given, list) else str(given)
        try:
            value = self._converted(given)
            if self.choices and value is not None and value not in self.choices:
                raise ValueError(shown)
            if self.adapter is not None:
                value = self.adapter.validate_python(value, strict=not isinstance(given, list))
        except UsageError:
            raise
        except ValueError:
            raise UsageError(f"{self.flag} {shown}: expected {self._expected}") from None
        return value

    @property
    def _expected(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.metavar.split('|'))}"
        words = {int: "a whole number", float: "a finite number", str: "a text"}
        kinds = [words[kind] for kind in self.kinds if kind in words]
        described = ", ".join([*kinds[:1], *self.limits]) or self.metavar
        return described + (", or none" if NoneType in self.kinds else "")

    def _converted(self, given: str | bool | list[str]) -> Any:
        """The value as a plain type; a `ValueError` if the option does not take it."""
        if isinstance(given, bool):
            return given
        if isinstance(given, list):
            return key_values(given, self.flag) if dict in self.kinds else given
        if NoneType in self.kinds and given.lower() == "none":
            return None
        for kind in (int, float):
            if kind in self.kinds:
                with contextlib.suppress(ValueError):
                    return kind(given)
        if str in self.kinds:
            return given
        raise ValueError(given)


def with_options(verb: Verb) -> Verb:
    """`verb` with its configurations replaced by one option per field, for `typer`.

    A parameter annotated with a subclass of `Config` is built from its options, one annotated
    `Annotated[Given, SomeConfig]` gets those that were given; `Flags` in the annotation changes
    what is offered. The help of all other parameters comes from the verb's docstring.
    """
    annotations = get_type_hints(verb, include_extras=True)
    summary, described = split_docstring(verb.__doc__ or "")
    plain: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Config], bool, list[OptionSpec]]] = {}
    for parameter in inspect.signature(verb).parameters.values():
        annotation = annotations[parameter.name]
        found = _config_of(annotation)
        if found is None:
            plain.append(_with_help(parameter, annotation, described.get(parameter.name)))
        else:
            groups[parameter.name] = (*found, config_options(found[0], _flags_of(annotation)))

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        for name, (config, raw, options) in groups.items():
            texts = {option.name: given.pop(option.name, None) for option in options}
            read = {o.name: o.read(texts[o.name]) for o in options if texts[o.name] is not None}
            given[name] = Given(read) if raw else _built(config, read, options)
        verb(**given)

    every = [option.parameter for _, _, options in groups.values() for option in options]
    ordered = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*plain, *every)]
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {}
    command.__doc__ = summary
    return command  # type: ignore[return-value]


def config_options(config: type[Config], flags: Flags = Flags()) -> list[OptionSpec]:
    """The options of a configuration's fields; fields without a form as text have none."""
    found = []
    for name, info in config.model_fields.items():
        kinds, choices, limits = _plain_types(info.annotation, list(info.metadata))
        if name in flags.without or not set(kinds) - {NoneType}:
            continue
        flag = flags.flags.get(name, "--" + name.replace("_", "-"))
        default = flags.defaults.get(name) or _default(info)
        extra = "; ".join([*limits, *([f"default: {default}"] if default else [])])
        text = " ".join((info.description or "").split())
        skip = any(
            isinstance(one, SkipValidation)  # type: ignore[misc]
            for one in _metadata(info.annotation, info)
        )
        # The annotation alone lacks the limits that pydantic moved into the field.
        annotated: Any = Annotated[info.annotation, info] if info.metadata else info.annotation
        adapter = None if skip else TypeAdapter(annotated, config={"arbitrary_types_allowed": True})
        shown_help = f"{text} [{extra}]" if extra else text
        found.append(OptionSpec(name, flag, kinds, choices, tuple(limits), adapter, shown_help))
    return found


def key_values(given: list[str], flag: str) -> dict[str, Json]:
    """Values from `KEY=VALUE` texts; VALUE is JSON or plain text.

    Raises:
        UsageError: if one has another form.
    """
    found: dict[str, Json] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{flag} {text}: expected KEY=VALUE")
        try:
            found[key] = json.loads(value)
        except (ValueError, RecursionError):
            found[key] = value
    return found


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""A docstring without its sections, and the `Args:` section as name -> text.

    Example:
        >>> split_docstring("Drive.\n\n    Args:\n        where: name of\n            a town.")
        ('Drive.', {'where': 'name of a town.'})
    """
    clean = inspect.cleandoc(text)
    head = re.split(r"\n(?:Args|Returns|Raises):\n", clean)[0].strip()
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", clean, re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section[1].splitlines() if section else ():
        if started := re.match(r" {4}(\w+): (.*)", line):
            name = started[1]
            found[name] = started[2]
        elif line.strip():
            found[name] += " " + line.strip()
    return head, found


def _config_of(annotation: Any) -> tuple[type[Config], bool] | None:
    """The configuration that an annotation asks for, and whether only given values are wanted."""
    base, *extra = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if base is Given:
        return next(one for one in extra if isinstance(one, type) and issubclass(one, Config)), True
    return (base, False) if isinstance(base, type) and issubclass(base, Config) else None


def _flags_of(annotation: Any) -> Flags:
    return next((one for one in get_args(annotation) if isinstance(one, Flags)), Flags())


def _with_help(
    parameter: inspect.Parameter, annotation: Any, text: str | None
) -> inspect.Parameter:
    """A plain parameter as an option with the docstring's help."""
    for one in get_args(annotation) if get_origin(annotation) is Annotated else ():
        if isinstance(one, typer.models.ParameterInfo):
            one.help = one.help or text
            return parameter.replace(annotation=annotation)
    flag = "--" + parameter.name.replace("_", "-")
    if annotation is bool:
        flag = f"{flag}/--no-{flag[2:]}" if parameter.default else flag
    return parameter.replace(annotation=Annotated[annotation, typer.Option(flag, help=text)])


def _built(config: type[Config], given: dict[str, Any], options: list[OptionSpec]) -> Config:
    try:
        return config(**given)
    except UsageError as error:
        message = str(error)
        for option in options:
            message = message.replace(f"{config.__name__} {option.name}=", f"{option.flag} ")
        raise UsageError(message) from None


def _metadata(annotation: Any, info: FieldInfo) -> list[Any]:
    inner = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return [*info.metadata, *inner]


def _plain_types(
    annotation: Any, metadata: list[Any]
) -> tuple[tuple[type, ...], tuple[Json, ...], list[str]]:
    """The plain types in an annotation, listed choices, and limits in words."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _plain_types(inner, [*metadata, *more])
    limits = [words for one in metadata for words in _limits(one)]
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        kinds = dict.fromkeys(type(choice) for choice in choices)
        return tuple(kinds), tuple(c for c in choices if c is not None), limits
    if get_origin(annotation) in (Union, UnionType):
        parts = [_plain_types(part, []) for part in get_args(annotation)]
        kinds = dict.fromkeys(kind for part in parts for kind in part[0])
        return (
            tuple(kinds),
            tuple(choice for part in parts for choice in part[1]),
            [*limits, *(words for part in parts for words in part[2])],
        )
    base = get_origin(annotation) or annotation
    if annotation is None or base is NoneType:
        return (NoneType,), (), limits
    if base in (bool, int, float, str):
        return (base,), (), limits
    if isinstance(base, type) and issubclass(base, Path):
        return (str,), (), limits
    if isinstance(base, type) and issubclass(base, list | tuple):
        return (list,), (), limits
    if isinstance(base, type) and issubclass(base, Mapping):
        return (dict,), (), limits
    return (), (), limits


def _limits(one: Any) -> list[str]:
    """Limits in words, from an annotated_types marker or a pydantic field."""
    if isinstance(one, FieldInfo):
        return [words for marker in one.metadata for words in _limits(marker)]
    words = {"ge": "{} or more", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
    return [
        form.format("2**63" if limit == 2**63 else limit)
        for name, form in words.items()
        if isinstance(limit := getattr(one, name, None), int | float)
    ]


def _default(info: FieldInfo) -> str:
    """A field's default as the help shows it; "" for a field without one."""
    if info.is_required():
        return ""
    default = info.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, list | tuple | dict):
        return ", ".join(map(str, default)) or "none"
    return str(default)
