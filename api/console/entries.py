"""A chain as people read it: its entries with filters, and each entry with what it says, names, and is proven by."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select

from api.auth import LedgerHere, MayRead, MaySeeReadings
from api.console.pages import may, page
from api.console.registers import page_of
from api.console.texts import TEXTS
from api.ledger import Ledger
from ledger.access import Action, Actor
from ledger.bulletins import Period, heads_of, slices
from ledger.codes import CITY, node_text, parse_node
from ledger.drafts import why_refused
from ledger.entries import Entry, Kind
from ledger.errors import NotRecorded, UnreadableCode
from ledger.fields import parse_time
from ledger.finding import Found
from ledger.identifiers import uri_of
from ledger.index import mentions
from ledger.log import prove_inclusion
from ledger.market_access.grounds import Outcome
from ledger.reads import ReadEntry, Stretch, get_entry, stretch
from ledger.registers import BY_NAME, BY_TABLE, PARTY
from ledger.registers.fields import day_of
from ledger.registry import Purpose
from ledger.tables import node as node_table
from ledger.vocabulary import BUSINESS_STEPS, CHINESE
from reports.bulletins import WHY

router = APIRouter(tags=["pages"], include_in_schema=False)
Json = dict[str, Any]
NODES_MAX = 1_000
NAMED_MAX = 3
"""How many items of an entry a list names."""
DEEDS = (Kind.CHANGE, Kind.READING, Kind.DECISION, Kind.ERASURE)
"""What somebody did to the register, to the log, or with personal data: the kinds of the work log."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry in a list: what it is, what it is about, and where that leads."""

    entry: str
    kind: str
    at: datetime
    actor: str
    what: tuple[str, str]
    """In Chinese and in English."""
    about: list[tuple[str, str]]
    """What it names, and the page of each."""


class Filter(BaseModel):
    """Which entries of a chain."""

    model_config = ConfigDict(extra="forbid")
    node: str = ""
    kind: str = ""
    step: str = Field(default="", pattern=r"^[^\x00]{0,300}$")
    day: str = ""
    by: str = Field(default="", pattern=r"^\s*[!#-\[\]-~]{0,100}\s*$", description="the credential that wrote them")
    before: int | None = Field(default=None, ge=1)


@router.get("/console/entries")
def entries_page(request: Request, ledger: LedgerHere, actor: MayRead, asked: Annotated[Filter, Query()]) -> Response:
    """A node's own entries, the latest first: of a kind, a business step, recorded on a day."""
    with ledger.database.read() as connection:
        nodes = {node_text(node): name for node, name in nodes_to_choose(connection, actor).items()}
    here = asked.node.strip() or next((one for one in nodes if int(one) > 1), node_text(actor.home_node))
    found = _stretch(ledger, actor, parse_node(here), _kinds(asked.kind, Kind) or (), asked)
    nodes.setdefault(here, "")  # where there are more than the list takes
    return _listed(request, actor, "entries.html", found, asked, here=here, nodes=nodes)


def nodes_to_choose(connection: Connection, actor: Actor, least: int = 0) -> dict[int, str]:
    """The first `NODES_MAX` nodes from `least` on that a reader may choose from, with their names."""
    question = select(node_table.c.node, node_table.c.name).where(node_table.c.node >= least)
    question = question.order_by(node_table.c.node)
    if actor.reach is not None:
        question = question.where(node_table.c.node.in_(sorted(actor.reach)))
    return {row.node: row.name for row in connection.execute(question.limit(NODES_MAX))}


@router.get("/console/log")
def log_page(
    request: Request, ledger: LedgerHere, actor: MaySeeReadings, asked: Annotated[Filter, Query()]
) -> Response:
    """Who did what: changes of the registry, readings of personal data, decisions, as the city's chain has them."""
    kinds = _kinds(asked.kind, DEEDS) or DEEDS
    return _listed(request, actor, "log.html", _stretch(ledger, actor, CITY, kinds, asked), asked, deeds=DEEDS)


def _kinds(word: str, among: Iterable[Kind]) -> list[Kind]:
    """The kind that a word names, none for no word; `UnreadableCode` where it is none of these."""
    words = {one.name.lower(): one for one in among}
    if word and word not in words:
        raise UnreadableCode("kind of entry", word, f"it is one of {', '.join(words)}")
    return [words[word]] if word else []


def _stretch(ledger: Ledger, actor: Actor, node: int, kinds: Collection[Kind], asked: Filter) -> Stretch:
    actor.require_node(node)
    with ledger.database.read() as connection:
        heads = heads_of(connection, frozenset([node]))
        first, last = 1, heads.get(node, 0)
        if asked.day:
            on = day_of(asked.day)
            begin = ledger.end_of(on - timedelta(days=1)) if on > date.min else datetime.min.replace(tzinfo=UTC)
            found = slices(connection, Period(begin, ledger.end_of(on)), heads)
            first, last = (found[0].first, found[0].last) if found else (1, 0)
        if asked.before is not None:
            last = min(last, asked.before - 1)
        return stretch(connection, node, first, last, kinds=kinds, step=asked.step, by=asked.by.strip())


def _listed(
    request: Request, actor: Actor, template: str, found: Stretch, asked: Filter, **more: Any
) -> Response:  # fmt: skip
    given = {name: value for name, value in request.query_params.items() if name != "before"}
    later = None if found.before is None else urlencode({**given, "before": found.before})
    return page(
        request, template, actor, lines=[line_of(one) for one in found.entries], later=later, asked=asked,
        sees_log=may(actor, Action.SEE_READINGS),
        kinds=list(Kind), steps=[(word, CHINESE[word]) for word in sorted(BUSINESS_STEPS.words)], **more,
    )  # fmt: skip


def line_of(one: Entry) -> Line:
    """An entry in one line."""
    what, about = _said(one)
    return Line(one.name, one.kind.name.lower(), one.record_time, one.actor, what, about)


def _said(one: Entry) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    body: Json = one.body
    match one.kind:
        case Kind.EVENT:
            word = body["event"].get("bizStep", body["event"]["type"])
            named = list(dict.fromkeys(uri_of(mention.key) for mention in mentions(body["event"])))
            return step_name(word), [(name, trace_page(name)) for name in named[:NAMED_MAX]]
        case Kind.CHANGE:
            row, register = body["change"]["row"], BY_TABLE.get(body["change"]["table"])
            if register is None:
                return (body["change"]["table"], f"v{row['version']}"), []
            code = "+".join(node_text(row[key]) if key == "node" else str(row[key]) for key in register.key)
            state = f" → {row['status']}" if row.get("status") else ""
            return (register.chinese, f"{register.name} v{row['version']}{state}"), [(code, page_of(register, code))]
        case Kind.REFUSAL:
            said = body["refusal"]
            why, packs = WHY[why_refused(said)], [one["code"] for one in said.get("packs", ())][:NAMED_MAX]
            return (why.zh, why.en), [(code, trace_page(code)) for code in packs]
        case Kind.CHECK:
            check = body["check"]
            outcome = Outcome.of(check["decision"])
            return (outcome.chinese, str(outcome)), [(check["party"], page_of(PARTY, check["party"]))]
        case Kind.READING:
            purpose = Purpose.of(body["reading"]["purpose"])
            return (f"查看个人信息：{purpose.chinese}", f"{purpose} ({len(body['reading']['subjects'])})"), []
        case _:
            return ("", ""), []


def step_name(word: str) -> tuple[str, str]:
    """A step or disposition in Chinese and English; a value of somebody's own as it is."""
    return CHINESE.get(word, ""), word.replace("_", " ") if word in CHINESE else word


def trace_page(code: str) -> str:
    """Where a code is traced."""
    return f"/console/trace?{urlencode({'code': code})}"


def found_as(one: Found) -> str:
    """What kind of thing was found, in Chinese."""
    return BY_NAME[one.kind].chinese if one.kind in BY_NAME else TEXTS[f"found_{one.kind}"][0]


def found_at(one: Found) -> str:
    """The page of what was found."""
    match one.kind:
        case "item":
            return trace_page(one.code)
        case "entry":
            return f"/console/entries/{one.code}"
        case "warning":
            return f"/console/warnings/{one.code}"
    return page_of(BY_NAME[one.kind], one.code)


@router.get("/console/entries/{node}/{seq}")
def entry_page(request: Request, ledger: LedgerHere, actor: MayRead, node: str, seq: int) -> Response:
    """One entry: what it says, whom and what it names, its hash and its place in the signed log."""
    here = parse_node(node)
    with ledger.database.read() as connection:
        found = get_entry(connection, here, seq, actor)
        name = connection.execute(select(node_table.c.name).where(node_table.c.node == here)).scalar()
        last = heads_of(connection, frozenset([here])).get(here, seq)
        try:
            proof = prove_inclusion(connection, here, seq)
        except NotRecorded:  # it is not signed yet
            proof = None
    one = found.entry
    told: Json = found.event if one.kind is Kind.EVENT else one.body
    return page(
        request, "entry.html", actor, one=one, line=line_of(one), name=name or "", proof=proof, last=last,
        hash=one.hash.hex(), prev=one.prev.hex(), sealed=found.sealed is not None, facts=_facts(found),
        items=_items(one), whole=orjson.dumps(told, option=orjson.OPT_INDENT_2, default=str).decode(),
    )  # fmt: skip


def _facts(found: ReadEntry) -> list[tuple[str, Any]]:
    """What an event says of itself: names of texts, and values; a pair is a word in Chinese and English."""
    if found.entry.kind is not Kind.EVENT:
        return []
    event = found.event
    facts: list[tuple[str, Any]] = [("happened", parse_time(event["eventTime"]))]
    if "bizStep" in event:
        facts.append(("step", step_name(event["bizStep"])))
    if "disposition" in event:
        facts.append(("status", step_name(event["disposition"])))
    for name, field in (("read_point", "readPoint"), ("location", "bizLocation")):
        if field in event:
            facts.append((name, event[field]["id"]))
    return facts


def _items(one: Entry) -> list[Json]:
    """What an event names: in which role, how much."""
    if one.kind is not Kind.EVENT:
        return []
    return [
        {"role": mention.role.name.lower(), "code": uri_of(mention.key), "to": trace_page(uri_of(mention.key)),
         "quantity": "" if mention.quantity is None else str(mention.quantity), "unit": mention.uom or ""}
        for mention in mentions(one.body["event"])
    ]  # fmt: skip
