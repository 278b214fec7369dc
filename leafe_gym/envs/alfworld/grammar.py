"""The texts of ALFWorld's grammar, at a tenth of the time.

TextWorld's own derivation parses the template of every command that can be given anew at every
step, as well as each condition it meets, and copies deeply what it only reads; that is most of
what a step takes. The symbols and rules are TextWorld's, and so are the texts.
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
    """As `ContextSensitiveGrammar`, made of one; what it parses, it remembers."""

    def __init__(self, plain: Any) -> None:
        self._rules = plain._rules

    def derive(self, start: str, context: Mapping[str, Any]) -> str:
        """The text that a line with symbols stands for.

        Args:
            start: the line.
            context: the state, and the things that names in the line stand for.
        """
        todo = [_with(symbol, context) for symbol in reversed(_parsed(start))]
        said = []
        while todo:
            symbol = todo.pop()
            if isinstance(symbol, textgen.TerminalSymbol):
                said.append(str(symbol))
            else:
                todo += reversed(self._expand(symbol))
        return "".join(said)

    def _expand(self, symbol: Any) -> list[Any]:
        """What a symbol that is no plain text stands for."""
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
        # The words of a text can be expressions; they have names of things to work with, no more.
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
    """The contexts in which a condition holds, one for each choice of things."""
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
    """A symbol for one use: those that were parsed are shared."""
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
