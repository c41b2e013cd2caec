"""Recalls over HTTP: their clocks, who has or had what, and how far it has come. They are filed as every record is."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import Connection

from api.auth import LedgerHere, MayCheckPacks
from api.bodies import json_answer
from api.ledger import Ledger, now
from ledger.access import Actor
from ledger.codes import node_text
from ledger.entries import time_text
from ledger.packs.recalls import AMOUNTS, GONE, SAFE, Answered, Had, answers_to, clocks, effects, who_had, who_holds
from ledger.packs.states import STATE_NAMES
from ledger.registers import RECALL
from ledger.registry import Record, record

Json = dict[str, Any]
router = APIRouter(tags=["packs"])


@router.get("/recalls/{recall}")
def get_recall(ledger: LedgerHere, actor: MayCheckPacks, recall: str) -> Response:
    """A recall with its clocks, who has or had what, and how far it has come. Others' nodes only for who sees all."""
    return json_answer(recall_json(ledger, actor, recall))


def recall_json(ledger: Ledger, actor: Actor, recall: str) -> Json:
    """The same for pages."""
    with ledger.database.read() as connection:
        found = record(connection, ledger.vault, RECALL, (recall,))
        about = _lots if found.row["lots"] else _packs
        return {**found.shown(), "clocks": _clocks(found, now()), **about(connection, found, actor)}


def _clocks(found: Record, at: datetime) -> list[Json]:
    return [
        {
            "clock": str(due.clock), "chinese": due.clock.chinese, "by": time_text(due.by),
            "done": due.done and time_text(due.done), "late": due.late, "source": due.source,
        }
        for due in clocks(found.row, at)
    ]  # fmt: skip


def _packs(connection: Connection, found: Record, actor: Actor) -> Json:
    """Of a drug: how its packs stand."""
    held = who_holds(connection, found.row)
    total = sum(one.count for one in held)
    safe = sum(one.count for one in held if one.state in SAFE)
    gone = sum(one.count for one in held if one.state in GONE)
    return {
        "packs": {"recorded": total, "safe": safe, "gone": gone, "outstanding": total - safe - gone},
        "holders": [
            {
                "node": node_text(one.node), "state": one.state.word, "chinese": STATE_NAMES[one.state],
                "here": one.held, "count": one.count,
            }
            for one in held if actor.may_see(one.node)
        ],
    }  # fmt: skip


def _lots(connection: Connection, found: Record, actor: Actor) -> Json:
    """Of food: what each node had of the lots, what it answered, and how much of all is accounted for."""
    had, answers = who_had(connection, found.row), answers_to(connection, found.row["recall"])
    totals = effects(had, answers)
    nodes, answered = {one.node for one in had}, {one.node for one in answers}
    return {
        "nodes": [_had_json(one, answers) for one in had if actor.may_see(one.node)],
        "answers": [_answer_json(one) for one in answers if actor.may_see(one.node)],
        "totals": [
            {
                "unit": one.unit, "out": one.out, "found": one.found, "sold": one.sold, "returned": one.returned,
                "destroyed": one.destroyed, "accounted": one.accounted,
                "accountedPercent": _percent(one.accounted, one.out),
            }
            for one in totals
        ],
        "effectiveness": {
            "nodes": len(nodes), "answered": len(nodes & answered),
            "answeredPercent": _percent(Decimal(len(nodes & answered)), Decimal(len(nodes))),
        },
    }  # fmt: skip


def _had_json(one: Had, answers: list[Answered]) -> Json:
    amounts = {name: one.amounts.get(name, Decimal(0)) for name in AMOUNTS}
    answered = any(answer.node == one.node for answer in answers)
    return {"node": node_text(one.node), "unit": one.unit, **amounts, "answered": answered}


def _answer_json(one: Answered) -> Json:
    return {
        "node": node_text(one.node), "acknowledgedAt": time_text(one.at), "unit": one.unit, "found": one.found,
        "sold": one.sold, "returned": one.returned, "destroyed": one.destroyed,
    }  # fmt: skip


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """With one decimal; None of nothing."""
    return round(100 * part / whole, 1) if whole else None
