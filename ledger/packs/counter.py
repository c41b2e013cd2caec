"""The counter: commands for packs, decided and recorded; many that come at the same moment are decided together.

A command is decided on what is known in one snapshot, and recorded only if its packs are still at the versions that
were seen; where a rival was faster it is decided again, so of a hundred rivals one is taken and the others are told who
was. What is taken is an event in the chain of the node; what is refused is an entry there too.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from ledger.access import Actor
from ledger.append import Request
from ledger.codes import NODE_URN, node_text
from ledger.database import Database
from ledger.documents import read_document, write_json
from ledger.drafts import Draft, content_id, draft_event, draft_refusal, refusal_name
from ledger.entries import Entry
from ledger.errors import Busy, Conflict, LedgerError, LimitExceeded, NotAllowed, NotRecorded
from ledger.fields import parse_time
from ledger.gather import Asked, Gathering
from ledger.gs1 import Key
from ledger.identifiers import uri_of
from ledger.lanes import Lanes
from ledger.notes import Recorded
from ledger.packs.contents import packs_in
from ledger.packs.decision import STOPPED, Decision, Mode, Order, Product, Reason, decide, undo_until
from ledger.packs.effects import (
    LOTS,
    UNITS,
    Standing,
    after,
    effects_of,
    is_pack,
    outcomes_of,
    product_of,
    standing_json,
    standing_of,
)
from ledger.packs.standings import Standings, read_standings, recorded_under, refused_before, with_stops
from ledger.packs.states import TRACE_OF, Command, Variant
from ledger.reads import ReadEntry

_log = logging.getLogger(__name__)
Json = dict[str, Any]
TRIES_MAX = 50
ELSEWHERE = "elsewhere"
PACKS_MAX = 3_500
"""Packs that one order may name, its containers' content included (码上放心 takes as many in a bill)."""
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"suyuan": "https://suyuan.example/ns/"}]


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants done with packs. `raw` is what was sent, kept sealed; sent again it must be the same.

    `orders` are one for each code, under the ask's one scan. `only_asks`: it is decided and nothing is recorded.
    `document` goes into the event as it is: the bill, and who gave and took.
    """

    scan: str
    actor: Actor
    orders: tuple[Order, ...]
    raw: Json = field(default_factory=dict)
    document: Json = field(default_factory=dict)
    only_asks: bool = False

    @property
    def command(self) -> Command:
        return self.orders[0].command

    @property
    def node(self) -> int:
        return self.orders[0].node

    @property
    def party(self) -> str | None:
        """Whose bill it is; the node's own, where none is named."""
        return self.raw.get("party")

    @property
    def event_name(self) -> str:
        return f"urn:uuid:{self.scan}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided for one pack, and how it stands now. `entry` is where that is recorded."""

    code: Key
    decision: Decision
    standing: Standing | None
    product: Product | None
    undo_until: datetime | None = None
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on each pack of an ask, and the entries made. `before`: it was recorded earlier."""

    variant: Variant
    verdicts: list[Verdict]
    places: list[Recorded]
    before: bool = False


class Counter(Gathering[Ask, Answer]):
    """A process's counter for packs: what an ask records is on disk when it is answered."""

    def __init__(
        self, database: Database, lanes: Lanes, secret: bytes, clock: Callable[[], datetime], zone: ZoneInfo
    ) -> None:
        self._lanes, self._secret, self._clock, self._zone = lanes, secret, clock, zone
        super().__init__("packs", database, self._decide_all)

    def _decide_all(self, connection: psycopg.Connection, asked: list[Asked[Ask, Answer]]) -> None:
        orders = [order for one in asked for order in one.question.orders]
        names = [name for one in asked if not one.question.only_asks for name in _names(one.question)]
        recorded = recorded_under(connection, names) if names else {}
        known = read_standings(connection, orders)
        whole: list[tuple[Asked[Ask, Answer], Ask]] = []
        for one in asked:
            with _told(one):
                answer = self._recorded(one.question, recorded, known)
                if answer is not None:
                    one.answer.set_result(answer)
                else:
                    whole.append((one, _with_contents(connection, one.question, known)))
        if any(one.question is not ask for one, ask in whole):
            known = read_standings(connection, [order for _, ask in whole for order in ask.orders])
        asked_for = [(order, ask.party) for _, ask in whole for order in ask.orders if order.command in STOPPED]
        if asked_for:
            known = with_stops(connection, known, asked_for, self._clock())
        refused = self._refused(connection, [ask for _, ask in whole], known)
        for one, ask in whole:
            with _told(one):
                self._decide(one, ask, known, refused)

    @staticmethod
    def _refused(
        connection: psycopg.Connection, asks: Sequence[Ask], known: Standings
    ) -> dict[tuple[str, int], int]:  # fmt: skip
        """How often what was done with a pack was refused to be done again, since: asked only where it can matter."""
        done = {
            (order.code, order.node): known.rows[order.code][1]
            for ask in asks if not ask.only_asks
            for order in ask.orders
            if order.code in known.rows and known.rows[order.code][1].done == order.command
        }  # fmt: skip
        return refused_before(connection, done) if done else {}

    def _recorded(
        self, ask: Ask, recorded: dict[str, tuple[Entry, bytes | None]], known: Standings
    ) -> Answer | None:  # fmt: skip
        """The answer to a scan that was recorded before; `Conflict` if that was another one under its id."""
        event, refusal = recorded.get(ask.event_name), recorded.get(refusal_name(ask.scan))
        verdicts: list[Verdict] = []
        if event is not None:
            whole = ReadEntry(event[0], None, event[1]).event
            if whole.get("suyuan:order") != ask.raw:
                raise Conflict(f"{ask.scan} is recorded already, and was another one")
            notes = whole.get("suyuan:notes", {})
            for outcome in outcomes_of(event[0].body):
                note = notes.get(outcome.code, {})
                odd = tuple(Reason.of(word) for word in note.get("odd", ()))
                decision = Decision(True, odd=odd, alert=note.get("alert", False))
                verdicts.append(self._verdict(outcome.code, decision, outcome.after, known, event[0].name))
            moved = {one.code for one in verdicts}
            for code in {effect.code for effect in effects_of(event[0].body["event"])} - moved:  # nothing was to change
                row = known.rows.get(code)
                verdicts.append(self._verdict(code, Decision(True), row and row[1], known, event[0].name))
        if refusal is not None:
            said = refusal[0].body["refusal"]
            if said.get("order") != self._order_id(ask):
                raise Conflict(f"{ask.scan} is recorded already, and was another one")
            for one in said["packs"]:
                reasons = tuple(Reason.of(word) for word in one["reasons"])
                decision = Decision(False, reasons, alert=one["alert"], soft=one.get("soft"))
                standing = standing_of(one["standing"]) if one["standing"] else None
                verdicts.append(self._verdict(Key(one["code"]), decision, standing, known, refusal[0].name))
        places = [ReadEntry(entry, None, sealed).place for entry, sealed in filter(None, (event, refusal))]
        return Answer(known.variant, verdicts, places, before=True) if places else None

    def _order_id(self, ask: Ask) -> str:
        return content_id(self._secret, write_json(ask.raw))

    @staticmethod
    def _verdict(
        code: Key, decision: Decision, standing: Standing | None, known: Standings, entry: str | None = None
    ) -> Verdict:
        until = undo_until(known.variant, standing) if standing is not None else None
        return Verdict(code, decision, standing, known.products.get(product_of(code)), until, entry)

    def _decide(
        self, one: Asked[Ask, Answer], ask: Ask, known: Standings, refused: dict[tuple[str, int], int]
    ) -> None:  # fmt: skip
        _require_rule(ask, known)
        now = self._clock()
        decided: list[tuple[Order, Decision]] = []
        for order in ask.orders:
            row = known.rows.get(order.code)
            before = refused.get((order.code, order.node), 0)
            moment = min(now, order.at) if order.mode is Mode.OFFLINE else now
            facts = known.known(order, moment.astimezone(self._zone).date(), ask.party)
            decided.append((order, decide(known.variant, order, row and row[1], facts, now, before)))
        taken = [(order, d) for order, d in decided if d.taken and not d.again]
        if ask.command is Command.VERIFY:  # a question: only what alerts is worth an entry
            taken = []
        refusals = [
            (order, d) for order, d in decided if not d.taken and (d.alert or ask.command is not Command.VERIFY)
        ]
        if ask.only_asks or not (taken or refusals):
            rows = known.rows
            verdicts = [
                self._verdict(o.code, d, rows[o.code][1] if o.code in rows else None, known) for o, d in decided
            ]
            one.answer.set_result(Answer(known.variant, verdicts, []))
            return
        drafts: list[Draft] = []
        if taken:
            drafts.append(self._event(ask, taken))
        if refusals:
            drafts.append(self._refusal(ask, refusals, known, now))
        expects = {order.code: known.rows[order.code][0] if order.code in known.rows else 0 for order, _ in taken}
        request = Request(drafts, ask.actor.name, expects=expects)
        self._lanes.submit(request).add_done_callback(partial(self._done, one, ask, decided, known, request))

    def _done(
        self, one: Asked[Ask, Answer], ask: Ask, decided: list[tuple[Order, Decision]], known: Standings,
        request: Request, submitted: "Future[list[Recorded]]",
    ) -> None:  # fmt: skip
        """What was recorded becomes the answer; where somebody was faster it is decided again."""
        with _told(one):
            self._answer_to(one, ask, decided, known, request, submitted)

    def _answer_to(
        self, one: Asked[Ask, Answer], ask: Ask, decided: list[tuple[Order, Decision]], known: Standings,
        request: Request, submitted: "Future[list[Recorded]]",
    ) -> None:  # fmt: skip
        error = submitted.exception()
        if isinstance(error, Conflict) and one.tries < TRIES_MAX:
            self.again(one)
            return
        if error is not None:
            one.answer.set_exception(Busy("many others want the same packs") if isinstance(error, Conflict) else error)
            return
        places = submitted.result()
        at = parse_time(places[0].record_time)
        effects = {effect.code: effect for draft in request.drafts for effect in draft.effects}
        names = [f"{node_text(place.node)}/{place.seq}" for place in places]
        verdicts: list[Verdict] = []
        for order, decision in decided:
            row = known.rows.get(order.code)
            standing = row and row[1]
            if decision.taken and not decision.again:
                standing = after(standing, effects[order.code], at, ask.node, ask.actor.name) or standing
            name = None if decision.again else names[0] if decision.taken else names[-1]
            verdicts.append(self._verdict(order.code, decision, standing, known, name))
        one.answer.set_result(Answer(known.variant, verdicts, places))

    def _event(self, ask: Ask, taken: Sequence[tuple[Order, Decision]]) -> Draft:
        notes = {
            order.code: {"odd": [str(word) for word in d.odd], "alert": d.alert}
            for order, d in taken
            if d.odd or d.alert
        }
        event = _event_json(ask, [order for order, _ in taken])
        event |= {"suyuan:order": ask.raw, **({"suyuan:notes": notes} if notes else {})}
        (captured,) = read_document(write_json({"@context": CONTEXT, **event})).events
        return draft_event(ask.node, captured, secrets.token_bytes, self._secret)

    def _refusal(
        self, ask: Ask, refusals: Sequence[tuple[Order, Decision]], known: Standings, now: datetime
    ) -> Draft:  # fmt: skip
        packs = []
        for order, decision in refusals:
            row = known.rows.get(order.code)
            packs.append({
                "code": order.code, "reasons": [str(word) for word in decision.reasons], "alert": decision.alert,
                "soft": decision.soft, "standing": row and standing_json(_seen_from(row[1], ask.node)),
            })  # fmt: skip
        said = {"command": str(ask.command), "mode": str(ask.orders[0].mode), "order": self._order_id(ask)}
        return draft_refusal(ask.node, ask.scan, packs, said, now, secrets.token_bytes)


def _seen_from(standing: Standing, node: int) -> Standing:
    """What a node may know of a pack: that somebody else acted, and not who."""
    return standing if standing.node == node else replace(standing, node=0, by=ELSEWHERE)


def _require_rule(ask: Ask, known: Standings) -> None:
    """`NotAllowed` where the node is closed, or the market's rules do not let this role give the command."""
    if ask.node not in known.nodes:
        raise NotRecorded(f"no node {node_text(ask.node)} is registered; register it with: suyuan node add")
    if not known.nodes[ask.node] and not ask.only_asks:
        raise NotAllowed(f"the node {node_text(ask.node)} is closed")
    if ask.command is Command.VERIFY:
        return
    rule = known.variant.rules.get(ask.command)
    if rule is None or ask.actor.role not in rule.roles:
        market = known.variant.market
        raise NotAllowed(f"by the rules of {market} a {ask.actor.role} may not {ask.command} packs")


def _event_json(ask: Ask, orders: Sequence[Order]) -> Json:
    """What is done with these packs, in EPCIS's terms."""
    first, trace = orders[0], TRACE_OF[ask.command]
    begins = ask.command is Command.COMMISSION
    event: Json = {
        "type": "ObjectEvent", "eventID": ask.event_name, "eventTime": first.at.isoformat(timespec="milliseconds"),
        "eventTimeZoneOffset": first.at.isoformat()[-6:], "action": "ADD" if begins else "OBSERVE",
        "epcList": [uri_of(order.code) for order in orders], "bizStep": trace.business_step,
        "disposition": trace.disposition, "readPoint": {"id": NODE_URN + node_text(ask.node)},
    }  # fmt: skip
    if first.units:
        event[UNITS] = first.units
    described: dict[tuple[str | None, date | None], list[str]] = {}
    for order in orders:
        if begins or not order.by_hand:  # what a person typed is no measure for others
            described.setdefault((order.batch, order.expires), []).append(uri_of(order.code))
    lots = [(_lot_json(batch, expires), epcs) for (batch, expires), epcs in described.items() if batch or expires]
    if begins and len(described) == 1 and lots:
        event["ilmd"] = {f"cbvmda:{name}": value for name, value in lots[0][0].items()}
    elif lots:
        event[LOTS] = [{**lot, "epcs": epcs} for lot, epcs in lots]
    return event | ask.document


def _lot_json(batch: str | None, expires: date | None) -> Json:
    found = {"lotNumber": batch, "itemExpirationDate": expires.isoformat() if expires else None}
    return {name: value for name, value in found.items() if value is not None}


def _names(ask: Ask) -> tuple[str, str]:
    """What an ask is recorded under: what is taken, and what is refused."""
    return ask.event_name, refusal_name(ask.scan)


@contextmanager
def _told(one: Asked[Ask, Answer]) -> Iterator[None]:
    """Whoever asked is told what went wrong with this, and nobody else."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, LedgerError):
            _log.error("an ask could not be answered", exc_info=error)
        if not one.answer.done():
            one.answer.set_exception(error)


def _with_contents(connection: psycopg.Connection, ask: Ask, known: Standings) -> Ask:
    """The ask with the packs in its containers in their place."""
    if all(is_pack(order.code) and order.code not in known.parents for order in ask.orders):
        return ask
    orders: dict[Key, Order] = {}
    for order in ask.orders:
        codes: Iterable[Key] = [order.code]
        if order.code in known.parents:
            codes = packs_in(connection, order.code, PACKS_MAX)
        if not codes or not all(map(is_pack, codes)):
            raise NotRecorded(f"it is not recorded which packs are in {order.code} now; scan the packs themselves")
        orders |= {code: order if code == order.code else replace(order, code=code) for code in codes}
    if len(orders) > PACKS_MAX:
        raise LimitExceeded(f"more than {PACKS_MAX} packs are named, with those in containers; do it in parts")
    return replace(ask, orders=tuple(orders.values()))
