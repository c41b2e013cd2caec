"""What a register is: fields, how each is read from text, which are personal and how masked, and steps. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Self

from ledger.access import Action, Role
from ledger.errors import Breach, UnreadableCode

Value = str | int | bool | None | list[str] | list[int]
"""What a field holds, as JSON. Quantities are texts of digits, dates are ISO 8601."""
Values = Mapping[str, Value]
Parse = Callable[[str, date], str | int | bool]

TEXT_MAX = 500
MANY_MAX = 100
MASK = "*"


class Find(StrEnum):
    """How records are found by a field."""

    NOT = "not"
    EXACT = "exact"
    TEXT = "text"
    """By any part of it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a register. `parse` makes the stored value of a text or raises `UnreadableCode`.

    What is `private` is encrypted, and shown through `mask` (given the value and all values of the record).
    """

    name: str
    chinese: str
    help: str
    parse: Parse
    example: str
    required: bool = False
    many: bool = False
    private: bool = False
    mask: Callable[[str, Values], str] | None = None
    find: Find = Find.NOT
    aliases: tuple[str, ...] = ()
    """Other heads that a column of it may have: names of the official record formats."""
    option: str = ""
    """How the command line calls it, where that is shorter than its name."""
    names: bool = False
    """People name the record by it. It stays as it was filed."""
    fixed: bool = False
    """It stays as it was filed."""
    positional: bool = False
    """The command line takes it without its name."""
    refers: str = ""
    """The table whose key it is: there must be such a record."""
    most: int = MANY_MAX
    """How many values it takes, where it takes many."""
    lines: bool = False
    """It is written in several lines."""

    @property
    def stays(self) -> bool:
        """Whether it cannot be changed once it is filed."""
        return self.names or self.fixed

    @property
    def words(self) -> tuple["Word", ...]:
        """The words that it may hold, where it holds words of a list."""
        return tuple(self.parse.words) if isinstance(self.parse, OneOf) else ()

    def read(self, given: object, today: date) -> Value:
        """The stored value of what was given: a text, or a list where the field takes many; "" and None are nothing."""
        if given is None or given in ("", []):
            return None
        if not self.many:
            return self.parse(_as_text(given), today)
        items = given if isinstance(given, list) else _as_text(given).replace("；", " ").replace(";", " ").split()
        found = list(dict.fromkeys(self.parse(_as_text(item), today) for item in items))
        if len(found) > self.most:
            raise UnreadableCode(self.name, f"{len(found)} values", f"it takes at most {self.most}")
        return found or None  # type: ignore[return-value]  # one parser makes either texts or numbers


def _as_text(given: object) -> str:
    """What was given, if it is a text: as a number a code would lose its zeros, and a quantity its digits."""
    if isinstance(given, str):
        return given.strip()
    if isinstance(given, float):
        raise UnreadableCode("value", "…", "a spreadsheet keeps 15 digits of a number: make it text, enter it anew")
    raise UnreadableCode("value", "…", "give it as a text, numbers and dates too")


@dataclass(frozen=True, slots=True)
class Step:
    """One step in a record's life. `by`: the roles that may take it, where not all that keep the register may."""

    name: str
    chinese: str
    help: str
    before: tuple[Value, ...]
    after: Value
    by: frozenset[Role] | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """One register. `key` are the columns that identify a record; `node_of` gives the node a record belongs to."""

    name: str
    plural: str
    chinese: str
    table: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    keep: Action
    check: Callable[[Values], Iterator[Breach]]
    steps: tuple[Step, ...] = ()
    status: str | None = None
    """The column that steps change."""
    statuses: type["Word"] | None = None
    """The words that it may hold, where it holds words; the first is where a record begins."""
    node_of: Callable[[Values], int] | None = None
    derive: Callable[[Values, bytes], Mapping[str, Value]] | None = None
    """Key columns that are no fields, made of the values and the installation's secret."""

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    @property
    def open_fields(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if not field.private)

    @property
    def private_fields(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.private)

    @property
    def naming(self) -> tuple[Field, ...]:
        """The fields that a person names a record by."""
        return tuple(field for field in self.fields if field.names)

    def step(self, name: str) -> Step:
        """The step `name`; `UnreadableCode` lists those that there are."""
        for step in self.steps:
            if step.name == name:
                return step
        raise UnreadableCode("step", "…", f"the steps of a {self.name} are {', '.join(s.name for s in self.steps)}")

    def read(self, given: Mapping[str, object], today: date) -> tuple[dict[str, Value], list[Breach]]:
        """The values of what was given, and all that is wrong with it. What is private is never repeated."""
        values: dict[str, Value] = {}
        breaches: list[Breach] = []
        by_name = {field.name: field for field in self.fields}
        for name, text in given.items():
            field = by_name.get(name)
            if field is None:
                shown = name if re.fullmatch("[a-z_]{1,40}", name) else "…"  # it could be a value in the wrong place
                breaches.append(Breach(shown, f"a {self.name} has no such field; it has {', '.join(by_name)}"))
                continue
            try:
                values[name] = field.read(text, today)
            except UnreadableCode as error:
                breaches.append(Breach(name, why(error)))
        return values, breaches

    def wrong(self, values: Values) -> list[Breach]:
        """What is missing from a whole record, and what does not go together in it."""
        missing = [
            Breach(field.name, f"{field.chinese} is missing: {field.help}")
            for field in self.fields
            if field.required and values.get(field.name) is None
        ]
        return missing or list(self.check(values))

    def shown(self, values: Values) -> dict[str, Value]:
        """The values as whoever may not read personal data sees them."""
        return {field.name: _masked(field, values) for field in self.fields}


def why(error: UnreadableCode) -> str:
    """What is wrong, without what was given: in a slipped column any field can hold what is personal."""
    where = "" if error.position is None else f"character {error.position + 1}: "
    return f"{where}{error.reason}"


def _masked(field: Field, values: Values) -> Value:
    value = values.get(field.name)
    if not field.private or not isinstance(value, str) or field.mask is None:
        return value
    return field.mask(value, values)


def by_key(columns: tuple[str, ...], row: Values) -> tuple[str, ...]:
    """A record's key as texts."""
    return tuple(str(row[column]) for column in columns)


def each(value: Value) -> list[str]:
    """The values of a field as texts: none, one or many."""
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]


class Word(StrEnum):
    """A word of a list, with its Chinese name."""

    chinese: str

    def __new__(cls, value: str, chinese: str) -> Self:
        word = str.__new__(cls, value)
        word._value_, word.chinese = value, chinese
        return word

    @classmethod
    def of(cls, value: str) -> Self:
        """The word that is written so; `ValueError` if there is none."""
        for word in cls:
            if word == value:
                return word
        raise ValueError(f"{value[:40]!r} is none of {', '.join(cls)}")


class OneOf:
    """Reads one of the words of a list, in English or Chinese."""

    def __init__(self, words: type[Word]) -> None:
        self.words = words
        self._known = {word.chinese: str(word) for word in words} | {str(word): str(word) for word in words}

    def __call__(self, given: str, _: date) -> str:
        if given not in self._known:
            choices = ", ".join(f"{word} {word.chinese}" for word in self.words)
            raise UnreadableCode("word of the list", given, f"it is one of {choices}")
        return self._known[given]
