"""Warnings and rules over HTTP: lists, why there is one, steps of its handling, a hold at once, and the rules."""

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import LedgerHere, MayHandle, MayHold, MayReadWarnings
from api.bodies import Input, documented_model, json_answer, parsed
from api.ledger import Ledger
from ledger.access import Actor
from ledger.codes import CITY, node_text
from ledger.entries import time_text
from ledger.errors import Breach, Conflict, NotRecorded, UnacceptableRecord
from ledger.filing import file_one, require_references
from ledger.identifiers import uri_of
from ledger.notes import Recorded
from ledger.registers import HANDLING, HOLD, Values
from ledger.registers.supervision import Scope
from ledger.registrar import Registrar
from ledger.registry import SKIP_MAX, Record, record, records, versions
from ledger.rules.form import read_rules
from ledger.rules.schema import FACTS, Watch
from ledger.rules.trial import wrong_examples
from ledger.rules.warnings import Warning, rule_words, shown
from ledger.rulesets import live_rules, rule_as_it_was
from ledger.warnings import PAGE_MAX, Asked, counts, explain, get_warning, list_warnings

Json = dict[str, Any]
router = APIRouter(tags=["warnings"])


Said = Annotated[str, Field(max_length=300, pattern="^[^\\x00]+$")]


class Filter(BaseModel):
    """Which warnings to list."""

    model_config = ConfigDict(extra="forbid")
    level: str | None = None
    rule: Said | None = None
    status: str | None = Field(default=None, description="open, assigned, rectifying, submitted, verified, closed; "
                               "or unclosed")  # fmt: skip
    node: str | None = None
    region: str | None = None
    goods: Said | None = Field(default=None, description="goods code, or how it begins")
    subject: Said | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = Field(default=None, max_length=200, description="words, in any order")
    hidden: bool = Field(default=False, description="also those that are silenced, or below a red one")
    sort: Literal["raised", "level", "due", "node"] = Field(default="raised", description="what comes first")
    skip: int = Field(default=0, ge=0, le=SKIP_MAX, description="without the first ones")
    after: str | None = Field(default=None, description="the last warning seen, of the newest first")
    limit: int = Field(default=100, ge=1, le=PAGE_MAX)


class StepBody(Input):
    """A step of a warning's handling."""

    step: str = Field(examples=["assign"])
    reason: str = Field(examples=["residue confirmed by the laboratory"])
    assignee: str | None = Field(default=None, examples=["3302120010001"])
    due: str | None = Field(default=None, examples=["2026-11-28T08:00:00+08:00"])
    measures: str | None = Field(default=None, description="what was done; no personal data")


class HoldBody(Input):
    """What to stop, of that which a warning is about."""

    reason: str = Field(examples=["failed its residue test"])
    scope: str = Field(default="lot", examples=["lot"], description="lot, goods, party or node")
    until: str | None = Field(default=None, examples=["2026-11-28T08:00:00+08:00"])
    everywhere: bool = Field(default=False, description="at all nodes, not only at the warning's own")


@router.get("/warnings")
def get_warnings(ledger: LedgerHere, actor: MayReadWarnings, asked: Annotated[Filter, Query()]) -> Response:
    """Warnings, the newest first. `Link` names the next page."""
    with ledger.database.read() as connection:
        found = list_warnings(connection, Asked(**asked.model_dump()), actor.reach)
    answer = json_answer([shown(one) for one in found])
    if len(found) == asked.limit:
        following = {**asked.model_dump(exclude_defaults=True), **after(asked, found), "limit": asked.limit}
        answer.headers["Link"] = f'</warnings?{urlencode(following)}>; rel="next"'
    return answer


def after(asked: Filter, found: Sequence[Warning]) -> Json:
    """Where the next page begins: after the last one of the newest first, else by number."""
    return {"after": found[-1].id} if asked.sort == "raised" else {"skip": asked.skip + len(found)}


@router.get("/warnings/{warning}")
def one_warning(ledger: LedgerHere, actor: MayReadWarnings, warning: str) -> Response:
    """A warning with all steps of its handling: when, by whom, and the entry that proves it."""
    return json_answer(warning_with_steps(ledger, actor, warning))


def warning_with_steps(ledger: Ledger, actor: Actor, warning: str) -> Json:
    """The same for pages."""
    with ledger.database.read() as connection:
        found = get_warning(connection, warning, actor.reach)
        return {**shown(found), "steps": _steps(ledger, found, connection)}


def _steps(ledger: Ledger, warning: Warning, connection: Any) -> list[Json]:
    if not records(connection, ledger.vault, HANDLING, [(warning.id,)]):
        return []
    return [
        {
            "status": one.record.row["status"], "at": time_text(one.at), "actor": one.actor,
            "entry": f"{node_text(CITY)}/{one.seq}", "assignee": one.record.row["assignee"],
            "measures": one.record.row["measures"],
        }
        for one in versions(connection, ledger.vault, HANDLING, (warning.id,))
    ]  # fmt: skip


@router.get("/warnings/{warning}/explanation")
def explanation(ledger: LedgerHere, actor: MayReadWarnings, warning: str) -> Response:
    """Why there is this warning: values, window, the rule's version, and the entries that it rests on."""
    with ledger.database.read() as connection:
        found = get_warning(connection, warning, actor.reach)
        rule = rule_as_it_was(connection, ledger.vault, found.rule, found.rule_version)
        return json_answer(explain(connection, found, rule, actor.reach))


@router.post("/warnings/{warning}/steps", status_code=201, openapi_extra=documented_model(StepBody))
def take_step(
    ledger: LedgerHere, actor: MayHandle, warning: str, body: Annotated[StepBody, Depends(parsed(StepBody))]
) -> Response:  # fmt: skip
    """A step of its handling (挂牌督办): assign, start, submit, reject, verify, close, reopen."""
    return json_answer(handle(ledger, actor, warning, body), 201)


def handle(ledger: Ledger, actor: Actor, warning: str, body: StepBody) -> Json:
    """Take the step, all of it in one entry; the first one files the handling before it.

    Nothing is filed for a step that cannot be taken. What the warning is then follows within a second.
    """
    registrar = ledger.registrar(actor)
    with ledger.database.read() as connection:
        found = get_warning(connection, warning, actor.reach)
        given = {name: value for name in ("assignee", "due", "measures") if (value := getattr(body, name)) is not None}
        changes = registrar.read(HANDLING, given)
        require_references(connection, HANDLING, changes)
        present = records(connection, ledger.vault, HANDLING, [(found.id,)]).get((found.id,))
        first = None
        if present is None:
            first, _ = file_one(connection, registrar, HANDLING, {"warning": found.id}, None)
            present = Record(HANDLING, dict(first.changes[0].row), registrar.read(HANDLING, {"warning": found.id}))
    step = registrar.step(_with(registrar, present, changes), body.step, body.reason)
    if first is not None:
        with contextlib.suppress(Conflict):  # somebody else took a first step just now: this one counts if it still can
            ledger.record(first)
    places = ledger.record(step)
    with ledger.database.read() as connection:
        shown_ = record(connection, ledger.vault, HANDLING, (found.id,)).shown()
    return {**shown_, **_proof(ledger, places)}


def _with(registrar: Registrar, present: Record, changes: Values) -> Record:
    """The handling as it will be said with the step: assignee, end and measures belong to the same entry."""
    change = registrar.change(present, changes) if changes else None
    if change is None:
        return present
    row = {**change.changes[0].row, "version": present.version}
    return replace(present, row=row, values={**present.values, **changes})


def _proof(ledger: Ledger, places: Sequence[Recorded]) -> Json:
    """Where it is recorded, and the signed receipt for it."""
    return {"entry": f"{node_text(places[-1].node)}/{places[-1].seq}", "receipt": ledger.receipt(places)}


@router.post("/warnings/{warning}/hold", status_code=201, openapi_extra=documented_model(HoldBody))
def hold(
    ledger: LedgerHere, actor: MayHold, warning: str, body: Annotated[HoldBody, Depends(parsed(HoldBody))]
) -> Response:  # fmt: skip
    """Stop the sale of what the warning is about: at once, everywhere that it is scanned or checked."""
    return json_answer(hold_for(ledger, actor, warning, body), 201)


def hold_for(ledger: Ledger, actor: Actor, warning: str, body: HoldBody) -> Json:
    """Place the hold; an order that stops somebody's trade gives its reason."""
    if not body.reason.strip():
        raise UnacceptableRecord([Breach("reason", "say why it is stopped: it is kept")])
    with ledger.database.read() as connection:
        found = get_warning(connection, warning, actor.reach)
        where = "000000000" if body.everywhere else found.node
        given = {
            "hold": f"{where}-{secrets.token_hex(6)}", "scope": body.scope, "target": _target(found, body.scope),
            "warning": found.id, **({"until": body.until} if body.until else {}),
        }  # fmt: skip
        request, key = file_one(connection, ledger.registrar(actor), HOLD, given, body.reason)
    places = ledger.record(request)
    with ledger.database.read() as connection:
        return {**record(connection, ledger.vault, HOLD, key).shown(), **_proof(ledger, places)}


def _target(warning: Warning, scope: str) -> str:
    """What of a warning a hold of this scope stops."""
    values = warning.body["values"]
    found = {
        Scope.LOT: values.get("item"), Scope.GOODS: values.get("goods"), Scope.PARTY: values.get("party") or
        _long(values.get("holder")), Scope.NODE: warning.node,
    }  # fmt: skip
    if scope not in found:
        raise UnacceptableRecord([Breach("scope", "of a warning: lot, goods, party or node")])
    target = found[Scope.of(scope)]
    if not target:
        raise NotRecorded(f"the warning names no {scope}: place the hold with POST /registry/holds")
    return uri_of(target) if scope == Scope.LOT else str(target)


def _long(holder: str | None) -> str | None:
    return holder if holder is not None and len(holder) == 13 else None


@router.get("/rules")
def get_rules(ledger: LedgerHere, _: MayReadWarnings) -> Response:
    """The live rules by set, with what came of each so far, and how often it could not be evaluated."""
    with ledger.database.read() as connection:
        live, counted = live_rules(connection), counts(connection)
    return json_answer([
        {"set": name, **rule_words(rule), "counts": counted.get(rule.key)} for name, rules in live.items()
        for rule in rules
    ])  # fmt: skip


@router.get("/rules/facts")
def get_facts(_: MayReadWarnings) -> Response:
    """What rules may ask, by what they watch."""
    return json_answer({
        str(watch): {
            name: {"chinese": one.chinese, "help": one.help, "type": type(one.sample).__name__}
            for name, one in FACTS[watch].items()
        }
        for watch in Watch
    })  # fmt: skip


class RulesBody(Input):
    """A rule file."""

    rules: str = Field(max_length=300_000, examples=["rules: []"])


@router.post("/rules/check", openapi_extra=documented_model(RulesBody))
def check_rules(_: MayHandle, body: Annotated[RulesBody, Depends(parsed(RulesBody))]) -> Response:
    """Whether a rule file would be taken: all that is wrong with it, and what its examples show. Nothing is kept."""
    return json_answer({"wrong": [{"field": one.path, "reason": one.reason} for one in wrong_in(body.rules)]})


def wrong_in(text: str) -> list[Breach]:
    """All that is wrong with a rule file."""
    try:
        rules = read_rules(text)
    except UnacceptableRecord as error:
        return error.breaches
    return [Breach(rule.id, wrong) for rule in rules for wrong in wrong_examples(rule)]
