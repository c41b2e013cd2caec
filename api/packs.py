"""Packs over HTTP: may it be sold, sell it, and whatever else is done with it; and how often it was sold, for anybody.

Each answer says two separate things: whether the command is taken, and whether an alert was raised. A refusal is
answered 409 with the same document (404 where nothing is known of the pack), and is an entry of the ledger.
"""

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as FromPath
from pydantic import Field

from api.auth import AnybodyLooks, LedgerHere, MayCheckPacks, MayCommand
from api.bodies import FieldReader, Input, documented_model, json_answer, parsed
from api.console.public import Counted
from api.ledger import Ledger, now
from api.paths import uri_in_path
from ledger.access import Actor
from ledger.codes import DRUG_URN, parse_node
from ledger.documents import Json
from ledger.entries import time_text
from ledger.errors import Breach, LedgerError, UnacceptableRecord, UnreadableCode
from ledger.fields import moment
from ledger.gs1 import Key
from ledger.identifiers import uri_of
from ledger.packs.counter import Answer, Ask, Verdict
from ledger.packs.decision import ENGLISH, Mode, Order, Reason
from ledger.packs.effects import UNITS_MAX, is_pack
from ledger.packs.sales import sales_of
from ledger.packs.states import STATE_NAMES, Command, State
from ledger.registers.fields import day_of
from scanners.symbols import Code, Reading, parse_symbol

router = APIRouter(tags=["packs"])
_CODE = FromPath(description="as the device sent it, as a URI, or (01)…(21)…", examples=["81234560000000010001"])


Batch = Annotated[str | None, Field(pattern="^[!-~\u4e00-\u9fff]{1,20}$")]
"""As it is printed: GS1 General Specifications, 3.4.1, and Chinese characters."""


class PackBody(Input):
    """A command for one pack. Times and dates are texts."""

    scan: str = Field(description="a UUID of the terminal's own; the same scan is sent under the same", examples=[
        "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a04"
    ])  # fmt: skip
    node: str = Field(examples=["330212001"])
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"], description="by the terminal's clock")
    mode: str = Field(default="scan", description="scan, manual or offline")
    typed: bool = Field(default=False, description="the code was typed, while the server could not be reached")
    scanned: str | None = Field(default=None, max_length=1000, description="what the device sent, unchanged")
    sendsFnc1: bool | None = Field(default=None, description="calibration has shown that the scanner sends FNC1")
    batch: Batch = Field(default=None, description="as typed, where the code does not say it")
    expires: str | None = Field(default=None, max_length=20)
    units: int | None = Field(default=None, ge=1, le=UNITS_MAX, description="of a split sale, or its undoing")
    undoes: str | None = Field(default=None, description="the state to be undone")


@dataclass(frozen=True, slots=True)
class Said:
    """A pack as it was named: its key, and what the code or the person said beside it."""

    code: Key
    batch: str | None
    expires: date | None


def pack_of(text: str, today: date, *, sends_fnc1: bool = False) -> Said:
    """The pack or container that a scan, a URI or bare digits name; `UnreadableCode` if they name none."""
    if text.startswith(DRUG_URN):
        text = text.removeprefix(DRUG_URN)
    code: Code = parse_symbol(text, today=today, sends_fnc1=sends_fnc1)
    if code.kind not in (Reading.DRUG, Reading.PACK, Reading.CONTAINER):
        raise UnacceptableRecord([Breach("scanned", f"this is a {code.kind} code: scan the code of the pack itself")])
    return Said(code.key, code.lot, code.expires)


def packs_of(
    texts: list[str], today: date, batch: str | None, expires: str | None, breaches: list[Breach], *,
    sends_fnc1: bool = False, first: int = 0,
) -> list[Said]:  # fmt: skip
    """The packs that a list names, each once; what is wrong with any joins `breaches`, counted from `first`."""
    found: dict[Key, Said] = {}
    day: date | None = None
    try:
        day = _day(expires)
    except ValueError as error:
        breaches.append(Breach("expires", str(error)))
    for number, text in enumerate(texts, first):
        try:
            said = pack_of(text, today, sends_fnc1=sends_fnc1)
        except (LedgerError, ValueError) as error:
            breaches.append(Breach(f"codes[{number}]", str(error)))
            continue
        found.setdefault(said.code, replace(said, batch=said.batch or batch, expires=said.expires or day))
    return [*found.values()]


@router.get("/packs/{code:path}")
async def get_pack(
    ledger: LedgerHere, actor: MayCheckPacks, request: Request, code: Annotated[str, _CODE],
    node: Annotated[str | None, Query(description="where the question is asked")] = None,
    mode: Annotated[Mode, Query()] = Mode.SCAN,
    batch: Annotated[Batch, Query()] = None,
    expires: Annotated[str | None, Query(max_length=20)] = None,
    sends_fnc1: Annotated[bool, Query(alias="sendsFnc1")] = False,
) -> Response:  # fmt: skip
    """May this pack be sold? Nothing is recorded."""
    said = pack_of(uri_in_path(request, "/packs/", code), ledger.today(), sends_fnc1=sends_fnc1)
    here = parse_node(node) if node is not None else actor.home_node
    actor.require_node(here)
    order = Order(
        "", Command.VERIFY, said.code, here, actor.name, now(), mode, said.batch or batch,
        said.expires or _day(expires),
    )  # fmt: skip
    answer = await ledger.ask(ledger.counter, Ask("", actor, (order,), only_asks=True))
    return _response(ledger, here, Command.VERIFY, answer)


@router.post("/packs/{code:path}/{command}", status_code=201, openapi_extra=documented_model(PackBody))
async def post_command(
    ledger: LedgerHere, actor: MayCommand, code: Annotated[str, _CODE], command: Command,
    body: Annotated[PackBody, Depends(parsed(PackBody))], request: Request,
) -> Response:  # fmt: skip
    """Give a command for a pack, or for all that is in a case. 200 if it was recorded before, 409 if refused."""
    text = uri_in_path(request, "/packs/", f"{code}/{command}").removesuffix(f"/{command}")
    ask = ask_of(body, text, command, actor, ledger.today())
    answer = await ledger.ask(ledger.counter, ask)
    return _response(ledger, ask.node, command, answer)


def ask_of(body: PackBody, code: str, command: Command, actor: Actor, today: date) -> Ask:
    """The ask that a body makes; `UnacceptableRecord` names all that is wrong with it."""
    read = FieldReader()
    scan = read("scan", lambda: str(UUID(body.scan)))
    node = read("node", lambda: parse_node(body.node))
    at = read("at", lambda: moment(body.at))
    mode = read("mode", lambda: Mode.of(body.mode))
    expires = read("expires", lambda: _day(body.expires))
    undoes = read("undoes", lambda: state_of(body.undoes))
    said = pack_of(code, today, sends_fnc1=body.sendsFnc1 is True)
    if body.scanned is not None:
        again = pack_of(body.scanned, today, sends_fnc1=body.sendsFnc1 is True)
        if again.code != said.code:
            read.breaches.append(Breach("scanned", f"this is {again.code}, not {said.code}"))
        said = again
    if body.units is not None and command not in (Command.SPLIT, Command.UNDO):
        read.breaches.append(Breach("units", "only split sales, and undoing them, count units"))
    if command is Command.SPLIT and body.units is None:
        read.breaches.append(Breach("units", "say how many units are sold"))
    if command is Command.UNDO and undoes is None and body.units is None:
        read.breaches.append(Breach("undoes", "name the state to be undone, or how many units"))
    if read.breaches or scan is None or node is None or at is None or mode is None:
        raise UnacceptableRecord(read.breaches)
    actor.require_node(node)
    batch, expires = said.batch or body.batch, said.expires or expires
    order = Order(
        scan, command, said.code, node, actor.name, at, mode, batch, expires, body.units or 0, undoes, typed=body.typed
    )  # fmt: skip
    raw = {**body.model_dump(exclude_none=True), "code": said.code, "command": str(command)}
    return Ask(scan, actor, (order,), raw)


def state_of(word: str | None) -> State | None:
    """The state of that name; None for none."""
    if word is None:
        return None
    for state in State:
        if state.word == word:
            return state
    raise ValueError(f"the states are {', '.join(state.word for state in State)}")


def _day(text: str | None) -> date | None:
    """A day of the calendar; also yyMMdd as in (17), where day 00 is the last of the month (GS1 GenSpecs, 3.4.7)."""
    if text is None or len(text) != 6 or not text.isdecimal():
        return None if text is None else day_of(text)
    year, month, day = 2000 + int(text[:2]), int(text[2:4]), int(text[4:])
    try:
        return date(year, month, day or monthrange(year, month)[1])
    except ValueError:
        raise UnreadableCode("date", text, "give a day of the calendar as YYMMDD, or as 2026-11-23") from None


# --- answers --------------------------------------------------------------------------------------


def _response(ledger: Ledger, node: int, command: Command, answer: Answer) -> Response:
    verdicts = [verdict_json(one, node, command) for one in answer.verdicts]
    rest: Json = {"receipt": ledger.receipt(answer.places)}
    if len(verdicts) == 1:
        (document,) = verdicts
        document |= rest
    else:
        document = {"command": str(command), "taken": all(one["taken"] for one in verdicts), "packs": verdicts, **rest}
    return json_answer(document, _status(command, answer))


def _status(command: Command, answer: Answer) -> int:
    decisions = [one.decision for one in answer.verdicts]
    if all(decision.taken for decision in decisions):
        again = answer.before or all(decision.again for decision in decisions)
        return 200 if again or command is Command.VERIFY else 201
    if command is Command.VERIFY:
        return 200
    if len(decisions) == 1 and _UNKNOWN & {*decisions[0].reasons}:
        return 404
    return 207 if any(decision.taken for decision in decisions) else 409


_UNKNOWN = {Reason.UNKNOWN_PACK, Reason.NO_DATA, Reason.MISTYPED, Reason.KEYBOARD, Reason.UNKNOWN_PRODUCT}


def verdict_json(one: Verdict, node: int, command: Command) -> Json:
    """A verdict for people and programs: where somebody else acted is not told, only that it was elsewhere."""
    decision, standing, product = one.decision, one.standing, one.product
    active = standing is not None and standing.state is State.ACTIVE
    sells = decision.taken if command is Command.VERIFY else active and not decision.unsaleable
    document: Json = {
        "code": uri_of(one.code), "command": str(command), "taken": decision.taken, "again": decision.again,
        "maySell": sells and not decision.reasons, "alert": decision.alert,
        "alertId": one.entry if decision.alert else None,
        "state": standing.state.word if standing else None,
        "chinese": STATE_NAMES[standing.state] if standing else "无记录",
        "since": time_text(standing.since) if standing else None,
        "place": None if standing is None else "here" if standing.node == node else "elsewhere",
        "reasons": [reason_json(word) for word in decision.reasons],
        "warnings": [reason_json(word) for word in decision.odd],
        "softLeft": decision.soft, "undoUntil": one.undo_until and time_text(one.undo_until),
        "recalls": list(decision.recalls), "holds": list(decision.holds),
        "product": product
        and {"name": product.name, "units": product.units, "nationalCode": product.national_code},
        "batch": standing.batch if standing else None,
        "expires": standing.expires.isoformat() if standing and standing.expires else None,
        "unitsTaken": standing.units if standing else 0, "entry": one.entry,
    }  # fmt: skip
    return document


def reason_json(word: Reason) -> Json:
    return {"code": str(word), "chinese": word.chinese, "english": ENGLISH[word]}


# --- for anybody ----------------------------------------------------------------------------------


@router.get("/public/packs/{code:path}")
def public_pack(
    ledger: LedgerHere, _: AnybodyLooks, __: Counted, request: Request, code: Annotated[str, _CODE]
) -> Response:  # fmt: skip
    """How often a pack was sold, and when: no buyer, no seller, nothing of how it came there."""
    said = pack_of(uri_in_path(request, "/public/packs/", code), ledger.today())
    if not is_pack(said.code):
        raise UnacceptableRecord([Breach("code", "this is no pack: scan the code of the box")])
    with ledger.database.read() as connection:
        times = sales_of(connection, said.code)
    found = {
        "code": uri_of(said.code), "sales": len(times), "times": [time_text(at) for at in times],
        "chinese": _SOLD[min(len(times), 2)][0], "english": _SOLD[min(len(times), 2)][1],
    }  # fmt: skip
    return json_answer(found)


_SOLD = (
    ("尚无销售记录,刚购买的请两天后再查", "no sale is recorded; if you have just bought it, ask again in two days"),
    ("销售一次", "sold once"),
    ("销售多次,疑似回流药或套码,请向监管部门反映", "sold more than once: it may be forged, tell the authority"),
)  # fmt: skip
