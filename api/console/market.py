"""The market manager's page: licences that end soon, the gate with a big yes or no, parties, holds, and own entries."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from api.auth import LedgerHere, MayReadRegister
from api.console.pages import may, page
from ledger.access import Action, Actor
from ledger.codes import node_text, parse_node
from ledger.registers import HOLD, LICENCE, PARTY
from ledger.registers.goods import Unit
from ledger.registers.supervision import VoucherKind
from ledger.registry import Wanted, listing
from ledger.tables import event
from ledger.tables import goods as goods_table
from ledger.tables import node as node_table

router = APIRouter(tags=["pages"], include_in_schema=False)
SOON_DAYS = 60
ROWS = 200
RECENT = 50


@router.get("/console/market")
def market_page(request: Request, ledger: LedgerHere, actor: MayReadRegister, node: str = "") -> Response:
    """A market's day: who may trade, what comes in, what was recorded last."""
    with ledger.database.read() as connection:
        nodes = _nodes(connection, actor)
        here = parse_node(node) if node else next(iter(nodes), None)
        if here is not None:
            actor.require_node(here)
        mine = None if here is None else frozenset([here])
        wanted = Wanted.of(LICENCE, {"expiring": str(SOON_DAYS)}, ledger.today())
        licences = listing(connection, ledger.vault, LICENCE, replace(wanted, nodes=mine), None, ROWS)
        parties = listing(connection, ledger.vault, PARTY, Wanted(nodes=mine), None, ROWS)
        holds = listing(connection, ledger.vault, HOLD, Wanted(nodes=mine), None, ROWS)
        goods = connection.execute(select(goods_table.c.goods, goods_table.c.name).order_by(goods_table.c.goods)).all()
        recent = [] if here is None else _recent(connection, here)
    return page(
        request, "market.html", actor, nodes=nodes, here=None if here is None else node_text(here),
        licences=sorted((one.shown() for one in licences), key=lambda row: str(row["valid_to"])),
        parties=[one.shown() for one in parties], goods=goods, recent=recent, today=ledger.today().isoformat(),
        holds=[one.shown() for one in holds if one.row["status"] == "active"], units=list(Unit),
        kinds=list(VoucherKind), may_check=may(actor, Action.CHECK_GOODS),
    )  # fmt: skip


def _nodes(connection: Any, actor: Actor) -> dict[int, str]:
    question = select(node_table.c.node, node_table.c.name).where(node_table.c.node > 1).order_by(node_table.c.node)
    if actor.reach is not None:
        question = question.where(node_table.c.node.in_(sorted(actor.reach)))
    return {row.node: row.name for row in connection.execute(question.limit(1_000))}


def _recent(connection: Any, node: int) -> list[dict[str, Any]]:
    question = select(event).where(event.c.node == node).order_by(event.c.seq.desc()).limit(RECENT)
    return [
        {"entry": f"{node_text(row.node)}/{row.seq}", "at": row.event_time, "step": row.business_step or "",
         "disposition": row.disposition or ""}
        for row in connection.execute(question)
    ]  # fmt: skip
