"""Conditions: expressions of CEL (Common Expression Language) over facts, checked before they are ever evaluated. Pure.

What could run long is refused: comprehensions (there is no budget for them), long and deep expressions. What is asked
for must be a fact; each part is tried on a value of every fact's type, so that a comparison that can never work is told
when the rule is read, not when the food is sold. Regular expressions are matched in linear time by the library.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import cel

from ledger.rules.schema import Fact, Value

LENGTH_MAX = 2_000
DEPTH_MAX = 20
PATTERN_MAX = 200
_FUNCTIONS = frozenset(
    """_&&_ _||_ !_ _==_ _!=_ _<_ _<=_ _>_ _>=_ @in _+_ _-_ _*_ _/_ _%_ -_ _?_:_ size startsWith endsWith contains
    matches duration timestamp int double string getHours getDayOfWeek getMinutes getMonth getDate""".split()
)
_MACROS = re.compile(r"\.\s*(all|exists|exists_one|existsOne|map|filter|reduce)\s*\(")
_STRING = re.compile(r'[rRbB]*("""|\'\'\')|[rRbB]*"(\\.|[^"\\\n])*"|[rRbB]*\'(\\.|[^\'\\\n])*\'')
Facts = Mapping[str, Value]
Wrong = Callable[[str], None]
"""Told what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked expression."""

    source: str
    names: frozenset[str]
    program: Any

    def of(self, facts: Facts, context: Any) -> Any:
        """Its value; None where a fact that it needs is not known. `context` holds the same facts."""
        if self.names <= facts.keys():
            return self.program.execute(context)
        try:  # what is missing may not be needed
            return self.program.execute(context)
        except (RuntimeError, TypeError):
            return None

    def holds(self, facts: Facts, context: Any) -> bool | None:
        """Whether it is true; None where it cannot be evaluated."""
        try:
            value = self.of(facts, context)
        except (RuntimeError, TypeError, ValueError, ArithmeticError):
            return None
        return value if isinstance(value, bool) else None

    def number(self, facts: Facts, context: Any) -> float | None:
        """Its value as a number; None where it cannot be evaluated."""
        try:
            value = self.of(facts, context)
        except (RuntimeError, TypeError, ValueError, ArithmeticError):
            return None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
    bare = _STRING.sub("''", source)
    if '"""' in source or "'''" in source or "//" in bare:
        wrong("write it without comments and without texts of several lines")
        return None
    if _depth(bare) > DEPTH_MAX:
        wrong(f"its brackets go deeper than {DEPTH_MAX}")
        return None
    if _MACROS.search(bare) or re.search(r"\bhas\s*\(", bare):
        wrong("all, exists, map, filter and has are not taken: watch items, documents or packs one by one instead")
        return None
    return _compiled(source, schema, wrong, kinds)


def _compiled(
    source: str, schema: Mapping[str, Fact], wrong: Wrong, kinds: tuple[type, ...]
) -> Condition | None:  # fmt: skip
    try:
        program = cel.compile(source)
        found = program.references()
    except (ValueError, RuntimeError, TypeError) as error:
        wrong(f"this is no CEL: {str(error).splitlines()[0][:200]}")
        return None
    names, functions = frozenset(found["variables"]), frozenset(found["functions"])
    bad = False
    for name in sorted(names - schema.keys()):
        near = _nearest(name, schema)
        wrong(f"{name} is no fact here{f'; did you mean {near}?' if near else ''} (suyuan rules facts lists them)")
        bad = True
    for name in sorted(functions - _FUNCTIONS):
        wrong(f"{name} is not taken; what is: size, startsWith, endsWith, contains, matches, duration, timestamp, …")
        bad = True
    if bad or not _patterns_short(source, wrong):
        return None
    condition = Condition(source, names, program)
    return condition if _tried(condition, schema, wrong, kinds) else None


def _patterns_short(source: str, wrong: Wrong) -> bool:
    for match in re.finditer(r"matches\s*\(([^)]*)\)?", source):
        if not _STRING.fullmatch(match[1].strip()) and not _STRING.match(match[1].strip()):
            wrong("give matches its pattern as a text, not as something computed")
            return False
        if len(match[1]) > PATTERN_MAX:
            wrong(f"a pattern has at most {PATTERN_MAX} characters")
            return False
    return True


def _tried(condition: Condition, schema: Mapping[str, Fact], wrong: Wrong, kinds: tuple[type, ...]) -> bool:
    """Every part of it on a value of every fact's type: what stands behind an `&&` too."""
    context = context_of({name: fact.sample for name, fact in schema.items()})
    for part in (condition.source, *_atoms(condition.source)):
        wanted = kinds if part == condition.source else (bool,)
        try:
            value = cel.compile(part).execute(context)
        except ZeroDivisionError:
            continue
        except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            reason = str(error).splitlines()[0].split(".")[0]
            wrong(f"`{part.strip()[:80]}` does not go with its facts' types: {reason}")
            return False
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            names = " or ".join(kind.__name__ for kind in wanted)
            wrong(f"`{part.strip()[:80]}` is {type(value).__name__}, not {names}")
            return False
    return True


def _atoms(source: str) -> Iterator[str]:
    """The parts between `&&` and `||`, inside brackets too."""
    parts = _split(source)
    if len(parts) > 1:
        for part in parts:
            yield from _atoms(part) if len(_split(_stripped(part))) > 1 else [_stripped(part)]
        return
    inner = _stripped(source)
    if inner != source:
        yield from _atoms(inner)


def _stripped(part: str) -> str:
    """Without what negates it and the brackets around all of it."""
    part = part.strip()
    while True:
        if part.startswith("!") and not part.startswith("!="):
            part = part[1:].strip()
        elif part.startswith("(") and _closes(part) == len(part) - 1:
            part = part[1:-1].strip()
        else:
            return part


def _closes(part: str) -> int:
    depth = 0
    for at, character in _outside(part):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return at
    return -1


def _split(source: str) -> list[str]:
    """At `&&` and `||` that stand in no brackets; a choice (`? :`) stays whole."""
    depth, begin, parts, marks = 0, 0, [], list(_outside(source))
    for (at, character), (_, following) in zip(marks, [*marks[1:], (0, "")], strict=True):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character == "?":
            return [source]
        if depth == 0 and character == following and character in "&|" and at >= begin:
            parts.append(source[begin:at])
            begin = at + 2
    return [*parts, source[begin:]]


def _outside(source: str) -> Iterator[tuple[int, str]]:
    """The characters that stand in no text."""
    at = 0
    while at < len(source):
        match = _STRING.match(source, at)
        if match is not None:
            at = match.end()
            continue
        yield at, source[at]
        at += 1


def _depth(bare: str) -> int:
    depth = most = max((len(run) for run in re.findall(r"(?:[!-]\s*)+", bare)), default=0) // 2
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        most = max(most, depth)
    return most


def _nearest(name: str, schema: Mapping[str, Fact]) -> str | None:
    found = get_close_matches(name, schema, 1, 0.6)
    return found[0] if found else None
