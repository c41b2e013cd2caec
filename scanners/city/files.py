"""The city as files: tables as CSV, events as documents a line, plants a line. Memory holds one document."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from scanners.city.plants import Plant
from scanners.city.timeline import Json

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
PREFIX = {"suyuan": "https://suyuan.example/ns/"}
EVENTS_A_LINE = 500
Progress = Callable[[str, int, int | None], None]
"""Told the file, the rows that are in it, and how many there will be, where that is known."""


class Source(Protocol):
    """What is written: the tables, the number of events, and the events."""

    wanted: int

    def tables(self) -> dict[str, Callable[[], Iterator[dict[str, str]]]]: ...

    def events(self, plants: Callable[[Plant], None]) -> Iterator[Json]: ...


def document(events: list[Json], at: datetime) -> Json:
    """Events as an EPCISDocument."""
    return _document(events, at.isoformat(timespec="milliseconds"))


def _document(events: list[Json], at: str) -> Json:
    return {
        "@context": [CONTEXT, PREFIX], "type": "EPCISDocument", "schemaVersion": "2.0", "creationDate": at,
        "epcisBody": {"eventList": events},
    }  # fmt: skip


def write(city: Source, folder: Path, progress: Progress) -> None:
    """All files of a city into `folder`, which is made if it is not there. The same city gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in city.tables().items():
        progress(name, _write_table(folder / name, rows()), None)
    with (
        (folder / "events.jsonl").open("w", encoding="utf-8", newline="\n") as events,
        (folder / "anomalies.jsonl").open("w", encoding="utf-8", newline="\n") as plants,
    ):
        told = city.events(lambda plant: print(_line(plant.row()), file=plants))
        written = 0
        while batch := list(islice(told, EVENTS_A_LINE)):
            latest = max(str(event["eventTime"]) for event in batch)
            print(_line(_document(batch, latest)), file=events)
            written += len(batch)
            progress("events.jsonl", written, city.wanted)


def _write_table(path: Path, rows: Iterable[dict[str, str]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for count, row in enumerate(rows, 1):
            if count == 1:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
    return count


def _line(value: Json) -> str:
    return _JSON.encode(value)


def _number(value: Any) -> int | float:
    """A decimal as JSON writes it: of up to 15 digits, a float's shortest text is the decimal's own."""
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} does not stand in an event")
    return int(value) if value == value.to_integral_value() else float(value)


_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), default=_number)
