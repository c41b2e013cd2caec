"""What rules remember: sliding windows in the time of events, and what they wait for. Pure.

A window slides: of all windows of its length that hold a hit, the first that satisfies the condition counts, also where
the hit comes late and lies between others. What is declared in error is forgotten.

Two clocks decide when something is missing. The event clock is the latest time that an event told, never later than
when it was recorded; the record clock is when the last entry was recorded, and ticks make that at most a minute ago.
Something is missing once either has passed the moment by which it should have come, and the lateness that the rule
allows. An event that comes so late that its moment has passed already waits by the record clock alone: whoever brings
in last week's records does not alarm everybody.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ledger.rules.conditions import context_of
from ledger.rules.form import Rule, Window, WindowType
from ledger.rules.schema import Value

SEEN_MAX = 10_000
"""Hits that a window keeps for one key; the oldest go first."""
EVIDENCE_MAX = 50
Facts = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule looked at something: what it knew, and which of its conditions were true.

    `position` is the entry's place in the log, `part` which hit of that entry it is, `place` the entry's name.
    `matched` numbers the window's conditions that were true; `when` is the rule's own.
    """

    rule: Rule
    key: str
    at: datetime
    position: int
    part: int
    place: str
    event: bytes | None
    facts: Facts
    when: bool
    matched: tuple[int, ...] = ()
    value: Any = None


class Seen(NamedTuple):
    """A hit as a window remembers it."""

    at: datetime
    position: int
    part: int
    place: str
    event: bytes | None
    value: Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that ought to be followed by something else, and until when."""

    rule: Rule
    key: str
    at: datetime
    position: int
    part: int
    place: str
    event: bytes | None
    facts: Facts
    due_event: datetime | None
    due_record: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: of what, when, resting on which entries, and the window's count or sum."""

    rule: Rule
    key: str
    at: datetime
    position: int
    part: int
    facts: Facts
    evidence: tuple[str, ...]
    counted: dict[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where the two clocks stand."""

    event: datetime
    record: datetime


Key = tuple[str, str]
"""A rule's key (id and version), and what it groups by."""


class Memory:
    """What rules have seen and wait for, as far as it is loaded; what changed is written by whoever keeps it."""

    def __init__(self) -> None:
        self.seen: dict[Key, list[Seen]] = {}
        self.waiting: dict[Key, dict[tuple[int, int], Waiting]] = {}
        self.new_seen: list[tuple[Rule, str, Seen]] = []
        self.new_waiting: dict[tuple[str, str, int, int], Waiting] = {}
        self.gone_waiting: set[tuple[str, str, int, int]] = set()
        self._dues: dict[str, list[tuple[datetime, int, int, str, str]]] = {"event": [], "record": []}
        """A heap for each clock."""

    def wait(self, one: Waiting, *, new: bool) -> None:
        """Remember that something is waited for."""
        self.waiting.setdefault((one.rule.key, one.key), {})[one.position, one.part] = one
        name = (one.rule.key, one.key, one.position, one.part)
        if new:
            self.new_waiting[name] = one
        for clock, due in (("event", one.due_event), ("record", one.due_record)):
            if due is not None:
                heapq.heappush(self._dues[clock], (due, one.position, one.part, one.rule.key, one.key))

    def stop_waiting(self, one: Waiting) -> None:
        """It came, or it was told that it did not."""
        del self.waiting[one.rule.key, one.key][one.position, one.part]
        name = (one.rule.key, one.key, one.position, one.part)
        if self.new_waiting.pop(name, None) is None:
            self.gone_waiting.add(name)

    def forget(self, event: bytes) -> None:
        """An event was declared in error: as far as it is loaded, it counts no more."""
        for key, seen in self.seen.items():
            self.seen[key] = [one for one in seen if one.event != event]
        self.new_seen = [one for one in self.new_seen if one[2].event != event]
        for waiting in [one for by_key in self.waiting.values() for one in by_key.values() if one.event == event]:
            self.stop_waiting(waiting)

    def due(self, clocks: Clocks) -> Iterator[Waiting]:
        """What should have come by now, in the order in which it should have."""
        heaps = ((self._dues["event"], clocks.event), (self._dues["record"], clocks.record))
        while passed := [heap for heap, until in heaps if heap and heap[0][0] <= until]:
            due, position, part, rule, key = heapq.heappop(min(passed, key=lambda heap: heap[0]))
            one = self.waiting.get((rule, key), {}).get((position, part))
            if one is not None and due in (one.due_event, one.due_record):
                yield one


def take(memory: Memory, hit: Hit, clocks: Clocks) -> list[Finding]:
    """What a hit makes the rule find, at once or by what it remembers."""
    window = hit.rule.window
    if hit.rule.lasting is not None:
        _lasting(memory, hit, clocks)
        return []
    if window is None:
        return [Finding(hit.rule, hit.key, hit.at, hit.position, hit.part, hit.facts, (hit.place,))]
    if window.type is WindowType.ABSENCE:
        _absence(memory, hit, clocks)
        return []
    matched = hit.matched if window.type in (WindowType.TEMPORAL, WindowType.TEMPORAL_ORDERED) else (0,)
    for number in matched:
        value = number if window.conditions else hit.value
        _remember(memory, hit, hit.part * 8 + number, value)
    near = [
        one for one in memory.seen.get((hit.rule.key, hit.key), [])
        if abs(one.at - hit.at) <= window.within and not _over(one, window, clocks)
    ]  # fmt: skip
    near.sort(key=lambda one: (one.at, one.position, one.part))
    found = _together(hit, near) if window.conditions else _counted(hit, near)
    return [] if found is None else [found]


def _over(seen: Seen, window: Window, clocks: Clocks) -> bool:
    """Whether it is past all lateness: it may be gone already, so it never counts any more."""
    return seen.at + window.span + window.lateness < clocks.event


def missing(memory: Memory, one: Waiting) -> Finding:
    """What was waited for did not come."""
    memory.stop_waiting(one)
    return Finding(one.rule, one.key, one.at, one.position, one.part, one.facts, (one.place,))


def _remember(memory: Memory, hit: Hit, part: int, value: Any) -> Seen:
    seen = Seen(hit.at, hit.position, part, hit.place, hit.event, value)
    kept = memory.seen.setdefault((hit.rule.key, hit.key), [])
    kept.append(seen)
    if len(kept) > SEEN_MAX:
        kept.sort(key=lambda one: (one.at, one.position, one.part))
        del kept[: len(kept) - SEEN_MAX]
    memory.new_seen.append((hit.rule, hit.key, seen))
    return seen


def _counted(hit: Hit, near: list[Seen]) -> Finding | None:
    """Whether some window that holds the hit counts, or sums up, to what the condition asks."""
    window = hit.rule.window
    if window is None or window.condition is None:
        return None
    for inside in _slides(near, window.within, hit):
        counted: dict[str, float | int] = {}
        if window.type is WindowType.VALUE_SUM:
            counted = {"sum": float(sum(one.value for one in inside)), "count": len(inside)}
        else:
            different = {one.value for one in inside} if window.type is WindowType.VALUE_COUNT else inside
            counted = {"count": len(different)}
        facts = {**hit.facts, **counted}
        asked = {name: facts[name] for name in window.condition.names if name in facts}
        if window.condition.holds(context_of(asked)):
            return Finding(
                hit.rule, hit.key, hit.at, hit.position, hit.part, hit.facts, _places(inside), counted
            )  # fmt: skip
    return None


def _together(hit: Hit, near: list[Seen]) -> Finding | None:
    """Whether some window that holds the hit holds all that has to come together, or in order."""
    window = hit.rule.window
    if window is None:
        return None
    wanted = range(len(window.conditions))
    for inside in _slides(near, window.within, hit):
        if window.type is WindowType.TEMPORAL:
            found = [next((one for one in inside if one.value == number), None) for number in wanted]
        else:
            found = _in_order(inside, len(window.conditions))
        if all(one is not None for one in found):
            places = _places(one for one in found if one is not None)
            return Finding(hit.rule, hit.key, hit.at, hit.position, hit.part, hit.facts, places)
    return None


def _in_order(inside: list[Seen], count: int) -> list[Seen | None]:
    """One of each, each after the one before by the time of the events; as early as possible."""
    found: list[Seen | None] = []
    after: datetime | None = None
    for number in range(count):
        one = next((one for one in inside if one.value == number and (after is None or one.at > after)), None)
        found.append(one)
        if one is None:
            break
        after = one.at
    return [*found, *([None] * (count - len(found)))]


def _slides(near: list[Seen], within: timedelta, hit: Hit) -> Iterator[list[Seen]]:
    """The windows that hold the hit, each as long as it may be, earliest first."""
    for at, first in enumerate(near):
        if first.at > hit.at:
            return
        if at and near[at - 1].at == first.at:
            continue
        end = bisect_right(near, first.at + within, key=lambda one: one.at)
        if near[end - 1].at >= hit.at:
            yield near[at:end]


def _places(seen: Iterable[Seen]) -> tuple[str, ...]:
    """The entries behind them, each once; the last ones, where there are many."""
    return tuple(dict.fromkeys(one.place for one in seen))[-EVIDENCE_MAX:]


def _absence(memory: Memory, hit: Hit, clocks: Clocks) -> None:
    """What comes ends the waiting for it; what ought to be followed waits, unless it came already."""
    window = hit.rule.window
    if window is None:
        return
    key = (hit.rule.key, hit.key)
    if hit.matched:
        for one in [one for one in memory.waiting.get(key, {}).values() if _answers(hit, one, window)]:
            memory.stop_waiting(one)
    if hit.when and not any(
        _came(hit, seen, window) and not _over(seen, window, clocks) for seen in memory.seen.get(key, [])
    ):
        _wait(memory, hit, clocks, window.lateness + window.within)
    if hit.matched:
        _remember(memory, hit, hit.part * 8, 0)


def _in_time(passed: timedelta, window: Window) -> bool:
    """Whether what came so much later than the other (or earlier) is what should have come with it."""
    if passed <= timedelta(0) and not window.before:
        return False
    return -window.before <= passed <= window.within


def _came(hit: Hit, seen: Seen, window: Window) -> bool:
    """Whether what the hit waits for was recorded before it."""
    return seen.position != hit.position and _in_time(seen.at - hit.at, window)


def _answers(hit: Hit, one: Waiting, window: Window) -> bool:
    """Whether what came is what was waited for: a gap of the ledger puts off until when it may come, too."""
    put_off = timedelta(0)
    if one.due_event is not None:
        put_off = max(put_off, one.due_event - one.at - window.within - window.lateness)
    passed = hit.at - one.at
    return hit.position != one.position and (
        _in_time(passed, window) or window.within < passed <= window.within + put_off
    )


def _lasting(memory: Memory, hit: Hit, clocks: Clocks) -> None:
    """What is true begins to last, unless it does already; what is not ends it."""
    waiting = memory.waiting.get((hit.rule.key, hit.key), {})
    if not hit.when:
        for one in list(waiting.values()):
            if hit.rule.lasting is None or hit.at < one.at + hit.rule.lasting:  # else it had lasted before this
                memory.stop_waiting(one)
    elif not waiting and hit.rule.lasting is not None:
        _wait(memory, hit, clocks, hit.rule.lasting)


def _wait(memory: Memory, hit: Hit, clocks: Clocks, span: timedelta) -> None:
    due = hit.at + span
    memory.wait(
        Waiting(
            hit.rule, hit.key, hit.at, hit.position, hit.part, hit.place, hit.event, hit.facts,
            due if due > clocks.event else None, clocks.record + span,
        ),
        new=True,
    )  # fmt: skip
