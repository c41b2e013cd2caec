"""What rules remember, against a slow definition of each window: minute by minute, over all that was ever seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.rules.form import Rule, read_rules
from ledger.rules.windows import EVIDENCE_MAX, SEEN_MAX, Clocks, Finding, Hit, Memory, Waiting, missing, take

ZERO = datetime(2026, 11, 25, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
RULE = """
rules:
  - id: one
    name: {{zh: 一, en: one}}
    level: red
    watch: event
    when: gate
    by: [node]
    {more}
    message: {{zh: 一, en: one}}
    remedy: {{zh: 一, en: one}}
    source: a test
"""


def rule(more: str) -> Rule:
    return read_rules(RULE.format(more=more))[0]


def window(given: str) -> Rule:
    return rule(f"window: {{{given}}}")


def minute(number: int) -> datetime:
    return ZERO + timedelta(minutes=number)


@dataclass(frozen=True)
class Told:
    """An entry: when it happened, when it was recorded, and what of the rule is true of it."""

    at: int
    key: str = "a"
    when: bool = True
    matched: tuple[int, ...] = ()
    value: float | str | None = None
    recorded: int | None = None
    lost: int | None = None
    """The entry whose event it declares in error."""


class Run:
    """Follows entries as the watcher does: forget, take, then what is due."""

    def __init__(self, rule_: Rule) -> None:
        self.rule, self.memory, self.clocks = rule_, Memory(), Clocks(LONG_AGO, LONG_AGO)
        self.position = 0
        self.found: list[Finding] = []

    def tell(self, told: Told) -> list[Finding]:
        at, recorded = minute(told.at), minute(told.at if told.recorded is None else told.recorded)
        event = self.clocks.event if told.lost is not None else max(self.clocks.event, min(at, recorded))
        self.clocks = Clocks(event, max(self.clocks.record, recorded))
        found: list[Finding] = []
        if told.lost is not None:
            self.memory.forget(f"event {told.lost}".encode())
        elif told.when or told.matched or self.rule.lasting is not None:
            place = f"entry {self.position}"
            found += take(self.memory, Hit(
                self.rule, told.key, at, self.position, 0, place, f"event {self.position}".encode(), {"node": told.key},
                told.when, told.matched, told.value,
            ), self.clocks)  # fmt: skip
        self.position += 1
        return found + [missing(self.memory, one) for one in self.memory.due(self.clocks)]


def follow(rule_: Rule, told: Sequence[Told]) -> list[set[tuple[int, str]]]:
    """What is found at each entry: the positions of the findings, and their keys."""
    run = Run(rule_)
    return [{(found.position, found.key) for found in run.tell(one)} for one in told]


def counts(told: Sequence[Told], until: int, lateness: int, within: int) -> list[tuple[int, Told]]:
    """What still counts when entry `until` has come: not declared in error, not past all lateness, of its key."""
    clock = max(one.at for one in told[: until + 1] if one.lost is None)
    lost = {one.lost for one in told[: until + 1]}
    return [
        (position, one) for position, one in enumerate(told[: until + 1])
        if one.lost is None and position not in lost and one.key == told[until].key
        and one.at + within + lateness >= clock
    ]  # fmt: skip


def spans(at: int, within: int) -> list[range]:
    """All windows of this length that hold the minute `at`."""
    return [range(start, start + within + 1) for start in range(at - within, at + 1)]


MINUTES, WITHIN, LATENESS = st.integers(0, 12), st.integers(0, 6), st.integers(0, 6)


def entries(**more: st.SearchStrategy[object]) -> st.SearchStrategy[list[Told]]:
    """Entries in any order of their times; some declare one before them in error."""
    one = st.builds(Told, at=MINUTES, key=st.sampled_from("aab"), **more)
    lost = st.integers(0, 30).map(lambda number: Told(0, lost=number))
    return st.tuples(one, st.lists(st.one_of(one, one, one, one, lost), max_size=9)).map(
        lambda told: [told[0], *(
            one if one.lost is None else replace(one, lost=one.lost % at) for at, one in enumerate(told[1], 1)
        )]
    )  # fmt: skip


# --- counting, and summing up ---------------------------------------------------------------------------


@given(entries(), WITHIN, LATENESS, st.integers(1, 4))
def test_hits_are_counted_in_every_window_that_holds_the_last(
    told: list[Told], within: int, lateness: int, many: int
) -> None:
    """Broken: a burst across a full hour, one whose middle comes last, or one with a hit that was withdrawn."""
    one = window(f"type: event_count, within: {within}m, lateness: {lateness}m, condition: count >= {many}")
    for at, (found, told_) in enumerate(zip(follow(one, told), told, strict=True)):
        if told_.lost is None:
            seen = counts(told, at, lateness, within)
            wanted = (at, told_) in seen and any(
                sum(other.at in span for _, other in seen) >= many for span in spans(told_.at, within)
            )
            assert found == ({(at, told_.key)} if wanted else set())


@given(entries(value=st.sampled_from("xyz")), WITHIN, LATENESS, st.integers(2, 3))
def test_different_values_are_counted_once_each(told: list[Told], within: int, lateness: int, many: int) -> None:
    """Broken: three uses at one node counted as three nodes."""
    more = f"value: node, condition: count >= {many}"
    one = window(f"type: value_count, within: {within}m, lateness: {lateness}m, {more}")
    for at, (found, told_) in enumerate(zip(follow(one, told), told, strict=True)):
        if told_.lost is None:
            seen = counts(told, at, lateness, within)
            wanted = (at, told_) in seen and any(
                len({other.value for _, other in seen if other.at in span}) >= many for span in spans(told_.at, within)
            )
            assert found == ({(at, told_.key)} if wanted else set())


@given(entries(value=st.sampled_from([0.5, 1.0, 2.0])), WITHIN, LATENESS)
def test_values_are_summed_up(told: list[Told], within: int, lateness: int) -> None:
    """Broken: a certificate used up in parts, recorded in any order."""
    one = window(f"type: value_sum, within: {within}m, lateness: {lateness}m, value: price, condition: sum > 3.0")
    for at, (found, told_) in enumerate(zip(follow(one, told), told, strict=True)):
        if told_.lost is None:
            seen = counts(told, at, lateness, within)
            wanted = (at, told_) in seen and any(
                sum(float(other.value or 0) for _, other in seen if other.at in span) > 3
                for span in spans(told_.at, within)
            )
            assert found == ({(at, told_.key)} if wanted else set())


@given(entries(), WITHIN, st.integers(2, 4))
def test_a_finding_rests_on_the_entries_it_counts(told: list[Told], within: int, many: int) -> None:
    """Broken: a warning whose evidence is too far apart, leaves out what raised it, or is not what it counted."""
    run = Run(window(f"type: event_count, within: {within}m, lateness: 1d, condition: count >= {many}"))
    for at, one in enumerate(told):
        for found in run.tell(one):
            places = [int(place.split()[1]) for place in found.evidence]
            times = [told[place].at for place in places]
            assert at in places and max(times) - min(times) <= within and times == sorted(times)
            assert found.counted == {"count": len(places)} and len(places) >= many


@pytest.mark.parametrize(("apart", "fires"), [(9, True), (10, True), (11, False)])
def test_a_window_holds_both_its_ends(apart: int, fires: bool) -> None:
    """Broken: two hits exactly as far apart as the window is long do not count together, or more do."""
    one = window("type: event_count, within: 10m, lateness: 1h, condition: count >= 2")
    assert bool(follow(one, [Told(0), Told(apart)])[1]) is fires


@pytest.mark.parametrize(("late", "fires"), [(14, True), (15, True), (16, False)])
def test_what_comes_later_than_the_lateness_counts_no_more(late: int, fires: bool) -> None:
    """Broken: whether a late hit counts depends on how soon the database was cleaned."""
    one = window("type: event_count, within: 10m, lateness: 5m, condition: count >= 2")
    assert bool(follow(one, [Told(0), Told(late, key="b"), Told(0)])[2]) is fires


def test_a_late_hit_between_others_joins_them() -> None:
    """Broken: the third of a cluster is recorded last, lies in the middle, and nobody hears of the cluster."""
    one = window("type: event_count, within: 10m, lateness: 1h, condition: count >= 3")
    assert follow(one, [Told(0), Told(10), Told(30, key="b"), Told(5)])[3] == {(3, "a")}


def test_a_window_that_does_not_hold_the_hit_says_nothing_of_it() -> None:
    """Broken: a late hit is blamed for what others did after it."""
    one = window("type: event_count, within: 6m, lateness: 1h, condition: count == 2")
    assert follow(one, [Told(5), Told(6), Told(0)]) == [set(), {(1, "a")}, set()]


def test_two_hits_of_one_entry_are_two() -> None:
    """Broken: an entry with two lots of one origin counts once, or one lot's hit overwrites the other's."""
    run = Run(window("type: event_count, within: 10m, condition: count >= 2"))
    first = Hit(run.rule, "a", ZERO, 0, 0, "entry 0", b"e", {}, True)
    assert take(run.memory, first, Clocks(ZERO, ZERO)) == []
    (found,) = take(run.memory, replace(first, part=1), Clocks(ZERO, ZERO))
    assert found.counted == {"count": 2} and found.evidence == ("entry 0",), "the entry is named once"


def test_of_equal_times_the_log_gives_the_order() -> None:
    """Broken: the evidence of a warning changes from one replay to the next."""
    run = Run(window("type: event_count, within: 10m, condition: count >= 3"))
    for _ in range(2):
        assert run.tell(Told(5)) == []
    assert run.tell(Told(5))[0].evidence == ("entry 0", "entry 1", "entry 2")


def test_a_window_keeps_the_newest_hits_and_stays_fast() -> None:
    """Broken: one busy key fills the memory, or each of its hits takes seconds."""
    one = window("type: event_count, within: 300d, condition: count > 1000000")
    memory, clocks = Memory(), Clocks(minute(SEEN_MAX), minute(SEEN_MAX))
    memory.seen[one.key, "a"] = []
    hit = Hit(one, "a", ZERO, 0, 0, "entry", None, {}, True)
    take(memory, hit, clocks)
    (first,) = memory.seen[one.key, "a"]
    memory.seen[one.key, "a"] = [first._replace(at=minute(at), position=at) for at in range(SEEN_MAX)]
    before = datetime.now(UTC)
    assert take(memory, replace(hit, at=minute(SEEN_MAX), position=SEEN_MAX), clocks) == []
    assert datetime.now(UTC) - before < timedelta(seconds=2)
    kept = memory.seen[one.key, "a"]
    assert len(kept) == SEEN_MAX and min(seen.at for seen in kept) == minute(1), "the oldest went"


def test_evidence_is_bounded_and_keeps_the_last() -> None:
    """Broken: a warning with ten thousand entries in its body."""
    run = Run(window("type: event_count, within: 1d, condition: count >= 60"))
    found = [found for at in range(60) for found in run.tell(Told(at))]
    assert [len(one.evidence) for one in found] == [EVIDENCE_MAX] and found[0].evidence[-1] == "entry 59"


# --- together, and in order -------------------------------------------------------------------------------

PATTERNS = st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True).map(lambda some: tuple(sorted(some)))


@given(entries(matched=PATTERNS), WITHIN, LATENESS)
def test_what_has_to_come_together_comes_in_any_order(told: list[Told], within: int, lateness: int) -> None:
    """Broken: three signs of one fraud that are recorded in another order than they happened."""
    one = window(f"type: temporal, within: {within}m, lateness: {lateness}m, patterns: [gate, registered, 'true']")
    for at, (found, told_) in enumerate(zip(follow(one, told), told, strict=True)):
        if told_.lost is None:
            seen = counts(told, at, lateness, within)
            wanted = (at, told_) in seen and any(
                {number for _, other in seen if other.at in span for number in other.matched} == {0, 1, 2}
                for span in spans(told_.at, within)
            )
            assert found == ({(at, told_.key)} if wanted else set())


@given(entries(matched=PATTERNS), WITHIN, LATENESS)
def test_what_has_to_come_in_order_does_by_its_own_time(told: list[Told], within: int, lateness: int) -> None:
    """Broken: received before it was shipped is told of entries that were only recorded so, or at the same minute."""
    more = "patterns: [gate, registered, 'true']"
    one = window(f"type: temporal_ordered, within: {within}m, lateness: {lateness}m, {more}")
    for at, (found, told_) in enumerate(zip(follow(one, told), told, strict=True)):
        if told_.lost is None:
            seen = counts(told, at, lateness, within)
            of = [[other.at for _, other in seen if number in other.matched] for number in range(3)]
            wanted = (at, told_) in seen and any(
                first < second < third
                for span in spans(told_.at, within)
                for first in of[0] for second in of[1] for third in of[2]
                if first in span and second in span and third in span
            )  # fmt: skip
            assert found == ({(at, told_.key)} if wanted else set())


# --- what should have come --------------------------------------------------------------------------------


def gone(told: Sequence[Told], within: int, lateness: int, before: int) -> list[set[tuple[int, str]]]:
    """What should be told as missing after each entry, by the definition: for each start, when, unless it came."""
    found: list[set[tuple[int, str]]] = [set() for _ in told]
    span = max(within, before)

    def event_clock(at: int) -> int:
        times = [min(one.at, one.at if one.recorded is None else one.recorded) for one in told[: at + 1]
                 if one.lost is None]  # fmt: skip
        return max(times, default=-1_000_000)

    def record_clock(at: int) -> int:
        return max(one.at if one.recorded is None else one.recorded for one in told[: at + 1])

    def fits(passed: int) -> bool:
        return (0 < passed <= within) if before == 0 else (-before <= passed <= within)

    for begin, start in enumerate(told):
        if start.lost is not None or not start.when:
            continue
        lost = {one.lost for one in told[: begin + 1]}
        came = any(
            one.lost is None and one.matched and one.key == start.key and position not in lost
            and fits(one.at - start.at) and one.at + span + lateness >= event_clock(begin)
            for position, one in enumerate(told[:begin])
        )  # fmt: skip
        due_event, due_record = start.at + within + lateness, record_clock(begin) + within + lateness
        by_event = due_event > event_clock(begin)
        for at in range(begin, len(told)):
            one = told[at]
            came = came or one.lost == begin
            if at > begin and one.lost is None and one.matched and one.key == start.key and fits(one.at - start.at):
                came = True
            if came:
                break
            if (by_event and event_clock(at) >= due_event) or record_clock(at) >= due_record:
                found[at].add((begin, start.key))
                break
    return found


@st.composite
def recordings(draw: st.DrawFn) -> list[Told]:
    """Entries in the order of their recording, each of them up to an hour late, some declared in error."""
    told: list[Told] = []
    now = 0
    for position in range(draw(st.integers(1, 10))):
        now += draw(st.integers(0, 8))
        if position and draw(st.integers(0, 7)) == 0:
            told.append(Told(now, recorded=now, lost=draw(st.integers(0, position - 1))))
            continue
        when, matched = draw(st.sampled_from([(True, ()), (False, (0,)), (True, (0,))]))
        late = draw(st.sampled_from([0, 0, 1, 3, 20]))
        told.append(Told(now - late, draw(st.sampled_from("ab")), when, matched, recorded=now))
    return told


@settings(max_examples=400)
@given(recordings(), st.integers(1, 6), st.integers(0, 4), st.sampled_from([0, 0, 2, 8]))
def test_what_did_not_come_is_told_once_its_moment_is_past_by_either_clock(
    told: list[Told], within: int, lateness: int, before: int
) -> None:
    """Broken: an alarm about what came in time, none about what never came, two about the same, or one too early."""
    ahead = f", before: {before}m" if before else ""
    one = window(f"type: absence, within: {within}m, lateness: {lateness}m, unless: registered{ahead}")
    ends = [*told, Told(told[-1].recorded or 0, when=False, recorded=1000)]
    assert follow(one, ends) == gone(ends, within, lateness, before)


@pytest.mark.parametrize(("after", "fires"), [(59, False), (60, False), (61, True)])
def test_what_comes_exactly_in_time_came(after: int, fires: bool) -> None:
    """Broken: a receipt exactly 60 minutes after the shipping raises an alarm, or one later does not."""
    one = window("type: absence, within: 60m, lateness: 0s, unless: registered")
    found = follow(one, [Told(0), Told(after, when=False, matched=(0,)), Told(500, "b", when=False, matched=(0,))])
    assert bool(found[1] | found[2]) is fires


def test_what_came_before_counts_only_where_the_rule_says_so() -> None:
    """Broken: a shipping that was recorded after its receipt waits for the receipt for ever."""
    came_first = [Told(0, when=False, matched=(0,)), Told(10), Told(500, "b", when=False, matched=(0,))]
    assert follow(window("type: absence, within: 60m, unless: registered"), came_first)[2] == {(1, "a")}
    assert follow(window("type: absence, within: 60m, before: 10m, unless: registered"), came_first)[2] == set()
    assert follow(window("type: absence, within: 60m, before: 9m, unless: registered"), came_first)[2] == {(1, "a")}


def test_a_report_answers_the_one_before_and_never_itself() -> None:
    """Broken: a sensor's report counts as the next one, and a silent sensor is never told."""
    one = window("type: absence, within: 60m, lateness: 0s, unless: gate")
    beats = [Told(at, matched=(0,)) for at in (0, 50, 100)]
    assert not any(follow(one, [*beats, Told(159, "b", when=False)]))
    later = [*beats, Told(161, "b", matched=(0,)), Told(400, "c", matched=(0,))]
    assert follow(one, later)[3:] == [{(2, "a")}, {(3, "b")}]


@pytest.mark.parametrize("when_last", [True, False])
def test_two_things_of_one_entry_do_not_answer_each_other(when_last: bool) -> None:
    """Broken: one entry with two lines is its own receipt, whichever line is read first."""
    run = Run(window("type: absence, within: 60m, lateness: 0s, before: 60m, unless: registered"))
    asks = Hit(run.rule, "a", ZERO, 0, int(when_last), "entry 0", b"e", {}, True)
    tells = replace(asks, part=int(not when_last), when=False, matched=(0,))
    for hit in sorted((asks, tells), key=lambda one: one.part):
        assert take(run.memory, hit, Clocks(ZERO, ZERO)) == []
    assert len(list(run.memory.due(Clocks(minute(60), minute(60))))) >= 1


def test_a_missing_report_that_comes_late_fills_its_gap() -> None:
    """Broken: reports that come in any order look like silence."""
    one = window("type: absence, within: 60m, lateness: 1h, unless: gate")
    assert follow(one, [Told(0, matched=(0,)), Told(110, matched=(0,)), Told(55, matched=(0,))]) == [set()] * 3
    ends = [Told(0, matched=(0,)), Told(110, matched=(0,)), Told(55, matched=(0,)), Told(125, "b", matched=(0,))]
    assert follow(one, ends)[3] == set(), "the first was followed by the third, and that by the second"


def test_the_record_clock_alone_tells_what_is_missing() -> None:
    """Broken: in a city where nothing happens any more, nothing is missed."""
    run = Run(window("type: absence, within: 60m, lateness: 5m, unless: registered"))
    run.tell(Told(0))
    for at, wanted in ((64, 0), (65, 1), (66, 0)):
        clocks = Clocks(minute(0), minute(at))
        assert len([missing(run.memory, one) for one in run.memory.due(clocks)]) == wanted


def test_bringing_in_last_weeks_records_alarms_nobody() -> None:
    """Broken: an import of a week of shippings, receipts in the second file, raises an alarm for each of them."""
    one = window("type: absence, within: 60m, lateness: 5m, before: 60m, unless: registered")
    week = 7 * 24 * 60
    live = Told(week, "b", when=False, matched=(0,), recorded=week)
    shipped = [Told(at, f"k{at}", recorded=week + 1) for at in range(0, 5000, 500)]
    received = [Told(at + 30, f"k{at}", when=False, matched=(0,), recorded=week + 40) for at in range(0, 5000, 500)]
    assert not any(follow(one, [live, *shipped, *received, Told(week + 900, "b", when=False, matched=(0,))]))
    alone = follow(one, [live, *shipped, Told(week + 66, "b", when=False, matched=(0,))])
    assert len(alone[-1]) == len(shipped) and not any(alone[:-1]), "once the record clock passed them"


def test_what_is_due_comes_in_its_order_and_once() -> None:
    """Broken: replays give warnings in another order, or both clocks tell the same thing."""
    run = Run(window("type: absence, within: 60m, lateness: 0s, unless: registered"))
    for at in (20, 0, 10):
        run.tell(Told(at, key=f"k{at}", recorded=20))
    found = run.tell(Told(500, "z", when=False))
    assert [one.key for one in found] == ["k0", "k10", "k20"] and run.tell(Told(900, "z", when=False)) == []
    assert not any(run.memory.waiting.values())


def test_what_is_loaded_again_is_due_as_before() -> None:
    """Broken: what was waited for is lost, or told twice, when the watcher begins anew."""
    run = Run(window("type: absence, within: 60m, lateness: 0s, unless: registered"))
    run.tell(Told(0))
    (waiting,) = run.memory.new_waiting.values()
    assert isinstance(waiting, Waiting)
    anew = Memory()
    anew.wait(waiting, new=False)
    anew.wait(waiting, new=False)
    assert anew.new_waiting == {}
    found = [missing(anew, one) for one in anew.due(Clocks(minute(100), minute(100)))]
    assert [one.position for one in found] == [0] and len(anew.gone_waiting) == 1


# --- what lasts ---------------------------------------------------------------------------------------------


def lasted(told: Sequence[Told], span: int) -> list[set[tuple[int, str]]]:
    """The first of each unbroken run of one key, at the first entry at which either clock says that it lasted."""
    found: list[set[tuple[int, str]]] = [set() for _ in told]
    event, record = -1_000_000, -1_000_000
    since: dict[str, tuple[int, int | None, int]] = {}
    for position, one in enumerate(told):
        record = max(record, one.recorded if one.recorded is not None else one.at)
        if one.lost is None:
            event = max(event, one.at)
            if not one.when:  # what had lasted long enough before that is told all the same
                if one.key in since and one.at < told[since[one.key][0]].at + span:
                    del since[one.key]
            elif one.key not in since:
                since[one.key] = position, one.at + span if one.at + span > event else None, record + span
        else:
            since = {key: value for key, value in since.items() if value[0] != one.lost}
        for key, (begin, by_event, by_record) in list(since.items()):
            if (by_event is not None and by_event <= event) or by_record <= record:
                found[position].add((begin, key))
                del since[key]
    return found


@given(recordings(), st.integers(1, 8))
def test_what_lasts_is_told_once_and_what_ends_is_not(told: list[Told], span: int) -> None:
    """Broken: a balance that was wrong for a second raises an alarm; one that stays wrong never does."""
    ends = [*told, Told(told[-1].recorded or 0, when=False, key="c", recorded=1000)]
    assert follow(rule(f"for: {span}m"), ends) == lasted(ends, span)


def test_what_goes_on_does_not_begin_anew() -> None:
    """Broken: a state that is told every five minutes never lasts ten."""
    assert follow(rule("for: 10m"), [Told(0), Told(5), Told(9), Told(10)]) == [set(), set(), set(), {(0, "a")}]


# --- forgetting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [
    "window: {type: event_count, within: 10m, condition: count >= 2}", "for: 5m",
    "window: {type: absence, within: 5m, lateness: 0s, unless: registered}",
])  # fmt: skip
def test_what_was_declared_in_error_is_forgotten_wherever_it_is(more: str) -> None:
    """Broken: a mistyped event that was withdrawn raises a warning afterwards."""
    told = [Told(0), Told(1, lost=0), Told(2, "b"), Told(9, "a", when="count" in more)]
    assert all((0, "a") not in found for found in follow(rule(more), told))
    assert follow(rule(more), told)[3] <= {(2, "b")}


def test_forgetting_undoes_what_is_not_written_yet() -> None:
    """Broken: a row about a withdrawn event is written after it was withdrawn."""
    run = Run(window("type: absence, within: 5m, unless: registered"))
    run.tell(Told(0, matched=(0,)))
    assert run.memory.new_seen and run.memory.new_waiting
    run.tell(Told(1, lost=0))
    assert (run.memory.new_seen, run.memory.new_waiting, run.memory.gone_waiting) == ([], {}, set())
