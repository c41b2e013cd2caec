"""Capture from files: EPCIS documents as they are, JSON lines as a stream in bounded memory."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from api.ledger import Ledger
from ledger import append
from ledger.capture import ErrorBehaviour, requests_of
from ledger.documents import BODY_BYTES_MAX, read_document, read_json
from ledger.errors import LedgerError, LimitExceeded, UnacceptableEvent
from ledger.nodes import OPERATOR, places_of

WINDOW, WINDOW_BYTES = 2_000, 8 * 1024 * 1024
"""Lines that are under way at once, at most; and the bytes after which no further line joins them."""
ENTRIES_AT_ONCE = 20_000
"""Half of what may wait in a lane: whoever captures files waits, and is never told that the ledger is busy."""


@dataclass
class Captured:
    """What became of part of a file: entries new and recorded before, refusals, and the signed receipt."""

    new: int = 0
    known: int = 0
    refusals: list[str] = field(default_factory=list)
    receipt: str = ""

    def __add__(self, other: "Captured") -> "Captured":
        return Captured(self.new + other.new, self.known + other.known, self.refusals + other.refusals)


def capture_file(ledger: Ledger, name: str, behaviour: ErrorBehaviour) -> Iterator[Captured]:
    """Capture a file as the operator; `-` is standard input. Yields what became of each part of it."""
    if name == "-":
        yield from _capture(ledger, sys.stdin.buffer, "standard input", behaviour)
        return
    with Path(name).open("rb") as file:
        yield from _capture(ledger, file, name, behaviour)


def _capture(ledger: Ledger, file: BinaryIO, name: str, behaviour: ErrorBehaviour) -> Iterator[Captured]:
    first = file.readline(BODY_BYTES_MAX + 1)
    if not _is_whole(first):
        # One document over several lines: read one byte more than may be, so that too much is noticed.
        yield _record(ledger, [(name, first + file.read(BODY_BYTES_MAX + 1 - len(first)))], behaviour)
        return
    window, number, size = [(f"{name}, line 1", first)], 1, len(first)
    while line := file.readline(BODY_BYTES_MAX + 1):
        number += 1
        if line.strip():
            window.append((f"{name}, line {number}", line))
            size += len(line)
        if len(window) == WINDOW or size > WINDOW_BYTES:
            yield _record(ledger, window, behaviour)
            window, size = [], 0
    yield _record(ledger, window, behaviour)


def _is_whole(line: bytes) -> bool:
    try:
        read_json(line)
    except (UnacceptableEvent, LimitExceeded):
        return False
    return True


def _record(ledger: Ledger, documents: list[tuple[str, bytes]], behaviour: ErrorBehaviour) -> Captured:
    """Record documents, each under its own name in refusals."""
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    captured, requests, names = Captured(), list[append.Request](), list[str]()
    for name, data in documents:
        try:
            found = requests_of(read_document(data), OPERATOR, places, behaviour, ledger.secret)
        except LedgerError as error:
            captured.refusals.append(f"{name}: {error}")
            continue
        requests += found
        names += [name] * len(found)
    recorded = []
    outcomes = (outcome for part in _parts(requests) for outcome in ledger.lanes.record(part))
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, LedgerError):
            captured.refusals.append(f"{name}: {outcome}")
        else:
            recorded += outcome
    captured.known = sum(place.duplicate for place in recorded)
    captured.new = len(recorded) - captured.known
    captured.receipt = ledger.receipt(recorded)
    return captured


def _parts(requests: list[append.Request]) -> Iterator[list[append.Request]]:
    """The requests in their order, in parts that a lane takes at once."""
    part, size = list[append.Request](), 0
    for request in requests:
        if part and size + len(request.drafts) > ENTRIES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(request)
        size += len(request.drafts)
    if part:
        yield part
