"""The base of all configurations: frozen records that refuse what they do not know.

A field is written once, as an annotation with a default and a docstring; the command line and a
run folder take names, types, limits and help from there.

Example:
    >>> class Speed(Config):
    ...     limit: PositiveInt = 3
    ...     '''Most steps a second.'''
    >>> Speed(limit=4)
    Speed(limit=4)
    >>> Speed(limti=4)
    Traceback (most recent call last):
    leafe_gym.errors.UsageError: Speed has no field 'limti'; did you mean: limit?
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leafe_gym.errors import UsageError
from leafe_gym.types import Json

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
FiniteFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number >= 0."""
Probability = Annotated[float, Field(gt=0, le=1)]
"""A number above 0 up to 1."""
RandomSeed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed: 0 to 2**63 - 1."""


class Config(BaseModel):
    """A frozen configuration; `replace` makes a changed copy, `as_dict` plain JSON.

    Raises:
        UsageError: for an unknown field or a value outside its type or range; names both.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    def __init__(self, *unnamed: Any, **values: Any) -> None:
        if unnamed:
            raise UsageError(
                f"{type(self).__name__}({unnamed[0]!r}): name the field; there are: "
                f"{', '.join(type(self).model_fields)}"
            )
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _usage_error(type(self), error) from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `as_dict`; JSON's lists become tuples where the field is one.

        Raises:
            UsageError: for an unknown field or a value outside its type or range.
        """
        try:
            return cls.model_validate(dict(data), strict=False)
        except ValidationError as error:
            raise _usage_error(cls, error) from None

    def as_dict(self) -> dict[str, Json]:
        """All fields as plain JSON."""
        data: dict[str, Json] = self.model_dump(mode="json")
        return data

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one.

        Raises:
            UsageError: for an unknown field or a value outside its type or range.
        """
        known = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**known, **changes})


def _usage_error(cls: type[Config], error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place, cls.model_fields, n=3)
        names = ", ".join(near or cls.model_fields)
        return UsageError(
            f"{cls.__name__} has no field {place!r}; "
            + (f"did you mean: {names}?" if near else f"there are: {names}")
        )
    message = first["msg"].removeprefix("Value error, ")
    if not place:
        return UsageError(f"{cls.__name__}: {message}")
    message = message[0].lower() + message[1:]
    return UsageError(f"{cls.__name__} {place}={first['input']!r}: {message}")
