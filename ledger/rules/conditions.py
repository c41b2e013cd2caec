"""Conditions: expressions of CEL (Common Expression Language) over facts, checked before they are ever evaluated. Pure.

What could run long is refused: comprehensions (there is no budget for them), long and deep expressions. What is asked
for must be a fact; each part is tried on a value of every fact's type, so that a comparison that can never work is told
when the rule is read, not when the food is sold. Regular expressions are matched in linear time by the library.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import cel

from ledger.rules.schema import Fact, Value

LENGTH_MAX = 2_000
DEPTH_MAX = 20
TRIED_MAX = 20_000
"""Characters of all parts of a condition that are tried when it is read."""
PATTERN_MAX = 200
PATTERN_COST_MAX = 2_000
"""Characters of all patterns, each as often as it is repeated: patterns are made anew for each thing looked at."""
_CLASS_COST = 100
_FUNCTIONS = frozenset(
    """_&&_ _||_ !_ _==_ _!=_ _<_ _<=_ _>_ _>=_ @in _+_ _-_ _*_ _/_ _%_ -_ _?_:_ size startsWith endsWith contains
    matches duration timestamp int double string getHours getDayOfWeek getMinutes getMonth getDate""".split()
)
_MACROS = frozenset("all exists exists_one existsOne map filter reduce has".split())
_FAILS = (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError)
_STRING = re.compile(
    r"""(?:[bB]?[rR][bB]?(?:"[^"\n\r]*"|'[^'\n\r]*')|[bB]?(?:"(?:\\.|[^"\\\n\r])*"|'(?:\\.|[^'\\\n\r])*'))"""
)
"""A text, as CEL reads it: with an `r` before it, a backslash is a character like any other."""
_TOKEN = re.compile(_STRING.pattern + r"|[A-Za-z_0-9.]+|&&|\|\||[=!<>]=|\S")
_CALL = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)\s*\(")
_RELATIONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))
_KINDS = (
    (bool, "a truth value"), (int | float, "a number"), (str, "a text"), (datetime, "a moment"),
    (timedelta, "a span"), (list, "a list"),
)  # fmt: skip
Facts = Mapping[str, Value]
Wrong = Callable[[str], None]
"""Told what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked expression."""

    source: str
    names: frozenset[str]
    program: Any

    def of(self, context: Any) -> Value | None:
        """Its value; None where a fact that it needs is not known, or it has none.

        What is missing may not be needed: it is tried all the same.
        """
        try:
            value = self.program.execute(context)
        except _FAILS:
            return None
        return value if isinstance(value, str | bool | int | float | datetime) else None

    def holds(self, context: Any) -> bool | None:
        """Whether it is true; None where it cannot be evaluated."""
        value = self.of(context)
        return value if isinstance(value, bool) else None

    def number(self, context: Any) -> float | None:
        """Its value as a number; None where it cannot be evaluated."""
        value = self.of(context)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


def context_of(facts: Facts) -> Any:
    """The facts as CEL takes them, made once for all rules."""
    return cel.Context(dict(facts))


def read_condition(
    source: object, schema: Mapping[str, Fact], wrong: Wrong, kinds: tuple[type, ...] = (bool,)
) -> Condition | None:  # fmt: skip
    """The expression, checked against the facts that there are; None, and `wrong` told, if it is not acceptable."""
    if not isinstance(source, str) or not source.strip():
        wrong('give an expression, such as: step == "receiving" && days_left < 0')
        return None
    if len(source) > LENGTH_MAX:
        wrong(f"it has {len(source)} characters; at most {LENGTH_MAX} are taken: split the rule")
        return None
    bare = _STRING.sub("0", source)
    if '"""' in source or "'''" in source or "//" in bare or re.search("[\"'{]", bare):
        wrong("write it without comments, maps, and texts that have several lines or no end")
        return None
    if re.search(r"\\[xXuU0-7]", source):
        wrong("write characters as they are, not as numbers")
        return None
    if _depth(bare) > DEPTH_MAX:
        wrong(f"its brackets go deeper than {DEPTH_MAX}")
        return None
    if _MACROS & set(_CALL.findall(bare)):
        wrong("all, exists, map, filter and has are not taken: watch items, documents or packs one by one instead")
        return None
    return _compiled(source, schema, wrong, kinds)


def _compiled(
    source: str, schema: Mapping[str, Fact], wrong: Wrong, kinds: tuple[type, ...]
) -> Condition | None:  # fmt: skip
    try:
        program = cel.compile(source)
        found = program.references()
    except _FAILS as error:
        wrong(f"this is no CEL: {str(error).splitlines()[0][:200]}")
        return None
    names, functions = frozenset(found["variables"]), frozenset(found["functions"])
    bad = False
    for name in sorted(names - schema.keys()):
        wrong(no_fact(name, schema))
        bad = True
    for name in sorted(functions - _FUNCTIONS):
        wrong(f"{name} is not taken; what is: size, startsWith, endsWith, contains, matches, duration, timestamp, …")
        bad = True
    if bad or not _patterns_short(source, wrong):
        return None
    condition = Condition(source, names, program)
    return condition if _tried(source, schema, wrong, kinds) else None


def _patterns_short(source: str, wrong: Wrong) -> bool:
    """Whether its patterns are written out and cheap."""
    tokens = _TOKEN.findall(source)
    cost = 0
    for at, token in enumerate(tokens):
        if token.rpartition(".")[2] != "matches" or token.startswith(("'", '"')):
            continue
        pattern = next(iter(tokens[at + 2 : at + 3]), "")
        if not _STRING.fullmatch(pattern) or tokens[at + 3 : at + 4] != [")"]:
            wrong("give matches its pattern as a text, not as something computed")
            return False
        if len(pattern) > PATTERN_MAX:
            wrong(f"a pattern has at most {PATTERN_MAX} characters")
            return False
        often = math.prod(max(1, int(one)) for one in re.findall("{(?:[0-9]*,)?([0-9]{1,9})", pattern))
        cost += often * (len(pattern) + _CLASS_COST * len(re.findall(r"\\[wWdDsSbBpP]", pattern)))
    if cost > PATTERN_COST_MAX:
        wrong(r"its patterns are too costly: write [0-9] or [a-z] instead of \d or \w, and repeat less")
    return cost <= PATTERN_COST_MAX


def _tried(source: str, schema: Mapping[str, Fact], wrong: Wrong, kinds: tuple[type, ...]) -> bool:
    """Every part of it on a value of every fact's type: what stands behind an `&&`, or in a choice, too."""
    parts, _ = _grouped([(match[0], match.start(), match.end()) for match in _TOKEN.finditer(source)], 0)
    try:
        _Trial(source, schema).need(parts, kinds)
    except _Unfit as unfit:
        wrong(str(unfit))
        return False
    return True


class _Unfit(Exception):
    """A part that cannot work, and why."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A token, or brackets and what stands in them, with its place in the source."""

    text: str
    at: int
    end: int
    inner: "list[_Part] | None" = None


def _grouped(tokens: list[tuple[str, int, int]], at: int) -> tuple[list[_Part], int]:
    """The parts from token number `at` until the bracket that closes them, and the number of that token."""
    parts: list[_Part] = []
    while at < len(tokens) and tokens[at][0] not in (")", "]"):
        text, begin, end = tokens[at]
        if text in ("(", "["):
            inner, at = _grouped(tokens, at + 1)
            parts.append(_Part(text, begin, tokens[at][2], inner))
        else:
            parts.append(_Part(text, begin, end))
        at += 1
    return parts, at


def _split(parts: list[_Part], mark: str) -> list[list[_Part]]:
    """What stands between the marks, where it is anything."""
    pieces: list[list[_Part]] = [[]]
    for part in parts:
        if part.text == mark:
            pieces.append([])
        else:
            pieces[-1].append(part)
    return [piece for piece in pieces if piece]


class _Trial:
    """Evaluates parts of an expression on samples: first its own, then others, where the first divide by zero."""

    def __init__(self, source: str, schema: Mapping[str, Fact]) -> None:
        self._source = source
        samples = {name: fact.sample for name, fact in schema.items()}
        others = {name: one + 1 if type(one) in (int, float) else one for name, one in samples.items()}  # type: ignore[operator]
        self._contexts = (context_of(samples), context_of(others))
        self._known: dict[str, Any] = {}
        self._left = TRIED_MAX

    def _text(self, parts: list[_Part]) -> str:
        return self._source[parts[0].at : parts[-1].end]

    def value(self, parts: list[_Part]) -> Any:
        """Its value; `_Unfit` if it has none."""
        text = self._text(parts)
        if text in self._known:
            return self._known[text]
        self._left -= len(text)
        if self._left < 0:
            raise _Unfit("it has too many parts: split the rule")
        fault: Exception | None = None
        for context in self._contexts:
            try:
                self._known[text] = cel.compile(text).execute(context)
                return self._known[text]
            except ZeroDivisionError as error:
                fault = error
            except _FAILS as error:
                fault = error
                break
        reason = str(fault).splitlines()[0].split(". ")[0]
        raise _Unfit(f"`{text[:80]}` does not go with its facts' types: {reason}")

    def need(self, parts: list[_Part], kinds: tuple[type, ...]) -> None:
        """`_Unfit` unless it, and each choice in it, is of one of these kinds and all its parts work."""
        value = self.value(parts)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not {bool, object} & set(kinds)):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise _Unfit(f"`{self._text(parts)[:80]}` is {type(value).__name__}, not {names}")
        self._within(parts, kinds)

    def _within(self, parts: list[_Part], kinds: tuple[type, ...] = (object,)) -> None:
        """`_Unfit` if a part of it does not work."""
        marks = [part.text for part in parts]
        if "?" in marks:
            asked = marks.index("?")
            colon = _colon(marks, asked)
            self.need(parts[:asked], (bool,))
            self.need(parts[asked + 1 : colon], kinds)
            self.need(parts[colon + 1 :], kinds)
            self._alike(parts, self.value(parts[asked + 1 : colon]), self.value(parts[colon + 1 :]))
            return
        for mark in ("||", "&&"):
            if mark in marks:
                for piece in _split(parts, mark):
                    self.need(piece, (bool,))
                return
        last = max((at for at, text in enumerate(marks) if text in _RELATIONS), default=0)
        if last:
            self._related(parts[:last], marks[last], parts[last + 1 :])
        elif len(parts) == 1 and parts[0].text == "(" and parts[0].inner:
            self.need(parts[0].inner, kinds)
        else:
            for part in parts:
                for piece in _split(part.inner or [], ","):
                    self.need(piece, (object,))

    def _related(self, left: list[_Part], relation: str, right: list[_Part]) -> None:
        one, other = self.value(left), self.value(right)
        others = other if relation == "in" and isinstance(other, list) else [other]
        for second in others if relation in ("==", "!=", "in") else []:
            self._alike([*left, *right], one, second)
        self._within(left)
        self._within(right)

    def _alike(self, parts: list[_Part], one: object, other: object) -> None:
        if _kind(one) != _kind(other):
            raise _Unfit(f"`{self._text(parts)[:80]}` takes {_kind(one)} and {_kind(other)} for the same kind of thing")


def _colon(marks: list[str], asked: int) -> int:
    """Where the other choice begins."""
    depth = 0
    for at in range(asked, len(marks)):
        depth += (marks[at] == "?") - (marks[at] == ":")
        if depth == 0:
            return at
    raise _Unfit("a choice is written: condition ? one : other")


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "nothing")


def _depth(bare: str) -> int:
    depth = most = max((len(run) for run in re.findall(r"(?:[!-]\s*)+", bare)), default=0) // 2
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        most = max(most, depth)
    return most


def no_fact(name: str, schema: Mapping[str, Fact]) -> str:
    """That there is no such fact, and which may have been meant."""
    near = get_close_matches(name, schema, 1, 0.6)
    return f"{name[:60]} is no fact here{f'; did you mean {near[0]}?' if near else ''} (suyuan rules facts lists them)"
