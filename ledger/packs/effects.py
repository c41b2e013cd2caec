"""What a recorded event does to packs: the one meaning of an event, whoever recorded it and for whatever reason.

A command was decided before it was recorded; a captured event has happened, and is a fact. Both do the same here. The
outcome, what a pack was before and is after, stands in the entry, so that the audit follows every pack from version to
version in whatever order it reads the chains. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from ledger.codes import DRUG_URN, node_text
from ledger.entries import time_text
from ledger.fields import parse_time
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.packs.states import FOR_GOOD, OTHER_STEPS, TRACE_OF, TRACES, UNDO_MAX, UNDOABLE, Command, State

Json = dict[str, Any]
VOID = "void"
"""What was done with a pack whose first event is declared in error: it counts as unknown again."""
UNITS, LOTS = "suyuan:units", "suyuan:lots"
"""Open fields of our own: how many units were taken from a pack (拆零); and what the packs' codes say beside serials,
since the standard has batch and expiry only where objects begin, one for all of an event (EPCIS 2.0, 7.3.7, ilmd)."""
UNITS_MAX, UNITS_TAKEN_MAX = 100_000, 1_000_000_000


class Effect(NamedTuple):
    """What an event does to one pack."""

    code: Key
    command: Command
    batch: str | None = None
    expires: date | None = None
    units: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pack stands: its state, since when, where and by whose credential it was brought about.

    `held`: it is at that node; else it is under way, or has left the supervised chain. `units` were taken out of it.
    `done` is what was done, with the units if it concerned some.
    """

    state: State
    since: datetime
    node: int
    by: str
    done: str
    held: bool
    batch: str | None = None
    expires: date | None = None
    units: int = 0
    made: bool = False
    """Its maker said batch and expiry; else they are what was read from a pack, and the maker's word is better."""


def is_pack(key: str) -> bool:
    """Whether a canonical key names one pack: a drug trace code, or a GTIN with a serial."""
    return key.startswith(DRUG_URN) or (key.startswith("01/") and "/21/" in key)


def product_of(code: str) -> str:
    """The part of a pack's code that names the product.

    >>> product_of("urn:suyuan:drug:81234560000000010001"), product_of("01/06901234500301/21/S1")
    ('8123456', '06901234500301')
    """
    return code.removeprefix(DRUG_URN)[:7] if code.startswith(DRUG_URN) else code[3:17]


_BY_STEP: dict[tuple[str, str | None], Command] = {}
for _row in TRACES:
    _BY_STEP[_row.business_step, _row.disposition] = _row.command
    _BY_STEP.setdefault((_row.business_step, None), _row.command)


def command_of(event: Json) -> Command | None:
    """What an observation of objects means for the packs among them; None if nothing."""
    step, disposition = event.get("bizStep", ""), event.get("disposition")
    if disposition in ("stolen", "destroyed") and event.get("action") != "ADD":
        return Command.STEAL if disposition == "stolen" else Command.DESTROY
    return _BY_STEP.get((step, disposition)) or _BY_STEP.get((step, None)) or OTHER_STEPS.get(step)


def effects_of(event: Json) -> Iterator[Effect]:
    """What the open part of a checked event does to packs, if it is never declared in error."""
    if "errorDeclaration" in event:
        return
    ilmd = event.get("ilmd", {})
    described = _lot(ilmd.get("cbvmda:lotNumber"), ilmd.get("cbvmda:itemExpirationDate"))
    if event["type"] == "TransformationEvent":
        for code in _packs(event.get("inputEPCList", ())):
            yield Effect(code, Command.CHECK_OUT)
        for code in _packs(event.get("outputEPCList", ())):
            yield Effect(code, Command.COMMISSION, *described)
    elif event["type"] == "ObjectEvent" and (command := command_of(event)) is not None:
        units = event.get(UNITS, 0)
        units = units if type(units) is int and 0 <= units <= UNITS_MAX else 0
        lots = _lots(event.get(LOTS))
        for code in _packs(event.get("epcList", ())):
            yield Effect(code, command, *lots.get(code, described), units)


def _packs(epcs: Iterable[str]) -> Iterator[Key]:
    yield from dict.fromkeys(key for key in map(canonical_key, epcs) if is_pack(key))


_Lot = tuple[str | None, date | None]


def _lot(batch: object, text: object) -> _Lot:
    """Batch and expiry as an event says them (CBV 2.0, 9.3), as far as they can be such."""
    try:
        expires = date.fromisoformat(str(text)[:10]) if text else None
    except ValueError:
        expires = None
    return batch if isinstance(batch, str) and _BATCH.fullmatch(batch) else None, expires


def _lots(groups: object) -> dict[Key, _Lot]:
    """What is said of each pack in our own field; whatever has another form is somebody else's, and says nothing."""
    found: dict[Key, _Lot] = {}
    for group in groups if isinstance(groups, list) else ():
        if isinstance(group, dict) and isinstance(group.get("epcs"), list):
            lot = _lot(group.get("lotNumber"), group.get("itemExpirationDate"))
            found |= dict.fromkeys(map(canonical_key, filter(_is_text, group["epcs"])), lot)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_BATCH = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,60}")
"""GS1 has 20 characters; more than that is somebody's own, and far more is no batch."""


def after(before: Standing | None, effect: Effect, at: datetime, node: int, by: str) -> Standing | None:
    """How a pack stands after an event recorded at that time and node; None if it changes nothing.

    A fact is believed, but it brings nothing back that has gone for good, and undoes only what was done at its node.
    """
    command = effect.command
    before = None if before is not None and before.done == VOID else before
    here = Standing(State.ACTIVE, at, node, by, done_by(command, effect.units), True, effect.batch, effect.expires)
    if before is None:
        return replace(here, made=True) if command is Command.COMMISSION else _moved(here, effect)
    if command is Command.COMMISSION:  # the maker's data, which came after the pack
        return None if before.made or before.state in FOR_GOOD else _described(before, effect)
    if before.state in FOR_GOOD or not _applies(before, effect, at, node):
        return None
    if command in (Command.RECEIVE, Command.SHIP) and (before.state is State.LOCKED or before.units):
        moved = replace(before, held=command is Command.RECEIVE)  # who locked or opened it alone undoes that
        return None if moved == before else moved
    if command is Command.UNDO and effect.units:  # the rest can be undone as long as before
        return replace(before, by=by, done=here.done, units=max(0, before.units - effect.units))
    batch, expires = before.batch or effect.batch, before.expires or effect.expires
    kept = replace(here, state=before.state, batch=batch, expires=expires, units=before.units, made=before.made)
    return _moved(kept, effect)


def _described(before: Standing, effect: Effect) -> Standing:
    return replace(
        before, batch=effect.batch or before.batch, expires=effect.expires or before.expires, made=True
    )  # fmt: skip


def is_opened(standing: Standing) -> bool:
    """Whether units were sold of a pack, and nothing else was done with it since: then that can be undone."""
    last, _, units = standing.done.partition(" ")
    return (
        standing.state is State.ACTIVE and standing.units > 0
        and (last == Command.SPLIT or (last == Command.UNDO and units != ""))
    )  # fmt: skip


def done_by(command: Command, units: int) -> str:
    """What was done, as a standing has it."""
    return f"{command} {units}" if units and command in (Command.SPLIT, Command.UNDO) else str(command)


_IN_STOCK = frozenset({State.ACTIVE, State.LOCKED})
_FROM: dict[Command, frozenset[State]] = {
    Command.RETURN: frozenset({State.SUPPLIED}), Command.UNLOCK: frozenset({State.LOCKED}),
    Command.SPLIT: frozenset({State.ACTIVE}), Command.LOCK: frozenset({State.ACTIVE}),
    **dict.fromkeys(
        (Command.RECEIVE, Command.SHIP, Command.SAMPLE, Command.FREE_SAMPLE, Command.EXPORT, Command.CHECK_OUT),
        _IN_STOCK,
    ),
}  # fmt: skip
"""In which states a fact does something; of the rest in any, since what was sold twice was sold twice."""
_SLACK = timedelta(hours=1)
"""Between the decision of an undo and its record."""


def _applies(before: Standing, effect: Effect, at: datetime, node: int) -> bool:
    command = effect.command
    if command in (Command.UNDO, Command.UNLOCK) and before.node != node:
        return False
    if command is Command.UNDO:
        opened = is_opened(before) and effect.units > 0
        whole = before.state in UNDOABLE and not effect.units
        return (opened or whole) and at - before.since <= UNDO_MAX + _SLACK
    return command not in _FROM or before.state in _FROM[command]


def _moved(here: Standing, effect: Effect) -> Standing:
    command = effect.command
    if command in (Command.RECEIVE, Command.SHIP):
        return replace(here, held=command is Command.RECEIVE)
    if command is Command.SPLIT:  # at least one, where the event does not say how many
        return replace(here, units=min(here.units + max(1, effect.units), UNITS_TAKEN_MAX))
    makes = TRACE_OF[command].makes or State.ACTIVE
    return replace(here, state=makes, held=makes in _IN_STOCK)


# --- how an outcome stands in an entry ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """One pack's step from one version to the next."""

    code: Key
    version: int
    before: Standing | None
    after: Standing


def taken_back(outcome: Outcome) -> Outcome:
    """What becomes of a pack when the event of its last step is declared in error."""
    void = replace(
        outcome.after, state=State.ACTIVE, done=VOID, held=False, batch=None, expires=None, units=0, made=False
    )
    before = outcome.before or void
    return Outcome(outcome.code, outcome.version + 1, outcome.after, before)


def outcomes_json(outcomes: Sequence[Outcome], named: int) -> list[Json]:
    """Outcomes as an entry holds them: packs that went the same way together, which are nearly always all.

    Where all the `named` packs of the event did, their codes are not repeated.
    """
    groups: dict[tuple[int, Standing | None, Standing], list[Key]] = {}
    for one in outcomes:
        groups.setdefault((one.version, one.before, one.after), []).append(one.code)
    return [
        {"version": version, "before": before and standing_json(before), "after": standing_json(now)}
        | ({} if len(codes) == named else {"codes": codes})
        for (version, before, now), codes in groups.items()
    ]


def outcomes_of(body: Json) -> Iterator[Outcome]:
    """The outcomes that an event's entry holds; `KeyError`, `TypeError` or `ValueError` where they are malformed."""
    for group in body.get("packs", ()):
        codes = group["codes"] if "codes" in group else [effect.code for effect in effects_of(body["event"])]
        before = group["before"] and standing_of(group["before"])
        now = standing_of(group["after"])
        for code in codes:
            yield Outcome(Key(code), group["version"], before, now)


def standing_json(standing: Standing) -> Json:
    """A standing as JSON: what does not apply is left out."""
    found: Json = {
        "state": standing.state.word, "since": time_text(standing.since), "node": node_text(standing.node),
        "by": standing.by, "done": standing.done, "held": standing.held,
    }  # fmt: skip
    if standing.batch is not None:
        found["batch"] = standing.batch
    if standing.expires is not None:
        found["expires"] = standing.expires.isoformat()
    if standing.units:
        found["units"] = standing.units
    if standing.made:
        found["made"] = True
    return found


def standing_of(found: Json) -> Standing:
    """The standing that an entry holds."""
    expires = found.get("expires")
    return Standing(
        State[found["state"].upper()], parse_time(found["since"]), int(found["node"]), found["by"], found["done"],
        found["held"], found.get("batch"), expires and date.fromisoformat(expires), found.get("units", 0),
        found.get("made", False),
    )  # fmt: skip
