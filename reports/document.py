"""What a report is before it is drawn: facts, tables and charts, in Chinese and English, with what it rests on. Pure.

Every line of a table names the entries that prove it. The hash of a document is SHA-256 of its content as JSON without
who ran it and when, so that the same rows are the same document, whoever prints it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
Cell = str | int | float | bool | Decimal | date | datetime | None


class Language(StrEnum):
    """In which language a document is drawn; the other one stands beside where there is room."""

    CHINESE = "zh"
    ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text in both languages."""

    zh: str
    en: str

    def in_(self, language: Language) -> str:
        """The text in that language."""
        return self.zh if language is Language.CHINESE else self.en

    @property
    def both(self) -> str:
        return f"{self.zh} {self.en}"


class Kind(StrEnum):
    """What the cells of a column are, for how they are drawn."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    CODE = "code"
    ENTRIES = "entries"
    """Entries that prove the line, with spaces between."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    head: Phrase
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. `marked` numbers the rows that a reader must not miss."""

    title: Phrase
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: Phrase | None = None
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said in pairs."""

    title: Phrase
    pairs: Sequence[tuple[Phrase, Cell]]


@dataclass(frozen=True, slots=True)
class Series:
    """One row of values of a chart."""

    name: Phrase
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of numbers: bars side by side, or lines; a label for each place on the axis."""

    title: Phrase
    labels: Sequence[str]
    series: Sequence[Series]
    unit: Phrase
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence."""

    text: Phrase
    alert: bool = False


Section = Grid | Facts | Chart | Note


@dataclass(frozen=True, slots=True)
class Basis:
    """What a document rests on: the ledger as of a moment and checkpoint, and who asked."""

    origin: str
    as_of: datetime
    size: int
    root: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A report."""

    name: str
    title: Phrase
    subject: str
    basis: Basis
    sections: Sequence[Section]
    attachments: dict[str, Any] = field(default_factory=dict)
    """What goes with it as JSON: proofs, for a dossier."""

    @property
    def hash(self) -> str:
        """SHA-256 of the content."""
        content = {
            "name": self.name, "subject": self.subject, "asOf": self.basis.as_of, "size": self.basis.size,
            "root": self.basis.root, "sections": [_plain(section) for section in self.sections],
            "attachments": self.attachments,
        }  # fmt: skip
        return hashlib.sha256(orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _plain(section: Section) -> Any:
    match section:
        case Grid():
            rows = [[shown(cell) for cell in row] for row in section.rows]
            return [section.title.en, [column.head.en for column in section.columns], rows]
        case Facts():
            return [section.title.en, [[name.en, shown(cell)] for name, cell in section.pairs]]
        case Chart():
            return [section.title.en, list(section.labels), [list(one.values) for one in section.series]]
        case Note():
            return section.text.en


def shown(cell: Cell) -> str:
    """A cell as text."""
    match cell:
        case None:
            return ""
        case bool():
            return "是 yes" if cell else "否 no"
        case datetime():
            return cell.isoformat(timespec="seconds")
        case Decimal():
            return f"{cell.normalize() + 0:f}"
        case float():
            return f"{cell:.2f}".rstrip("0").rstrip(".")
    return str(cell)


def safe(text: str) -> str:
    """A cell of a sheet: one that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{text}" if could_be_formula(text) and not _is_number(text) else text


def could_be_formula(text: str) -> bool:
    """Whether a spreadsheet could take it for one, also if apostrophes stand before it."""
    return text.lstrip("'")[:1] in FORMULAS


def _is_number(text: str) -> bool:
    return text[1:].replace(".", "", 1).isdigit() and text[:1] == "-"
