"""The market manager's page: licences that end soon, the gate with a big yes or no, parties, holds, and own entries."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, func, select

from api.auth import LedgerHere, MayReadRegister
from api.console.entries import line_of, nodes_to_choose
from api.console.pages import may, page
from ledger.access import Action
from ledger.bulletins import heads_of
from ledger.codes import IMPORT, node_text, parse_node
from ledger.reads import stretch
from ledger.registers import HOLD, LICENCE, PARTY
from ledger.registers.goods import Unit
from ledger.registers.parties import Status
from ledger.registers.supervision import VoucherKind
from ledger.registry import Record, Wanted, listing
from ledger.tables import goods as goods_table
from ledger.tables import licence

router = APIRouter(tags=["pages"], include_in_schema=False)
SOON_DAYS = 60
ROWS = 200
RECENT = 10


@router.get("/console/market")
def market_page(request: Request, ledger: LedgerHere, actor: MayReadRegister, node: str = "") -> Response:
    """A market's day: who may trade, what comes in, what was recorded last."""
    with ledger.database.read() as connection:
        nodes = nodes_to_choose(connection, actor, IMPORT + 1)
        here = parse_node(node) if node else next(iter(nodes), None)
        if here is not None:
            actor.require_node(here)
            nodes.setdefault(here, "")  # where there are more than the list takes
        mine = None if here is None else frozenset([here])
        wanted = Wanted.of(LICENCE, {"expiring": str(SOON_DAYS)}, ledger.today())
        licences = listing(connection, ledger.vault, LICENCE, replace(wanted, nodes=mine), None, ROWS)
        parties = listing(connection, ledger.vault, PARTY, Wanted(nodes=mine), None, ROWS)
        holds = listing(connection, ledger.vault, HOLD, Wanted(nodes=mine), None, ROWS)
        goods = connection.execute(select(goods_table.c.goods, goods_table.c.name).order_by(goods_table.c.goods)).all()
        ends = _licences_end(connection, parties)
        last = 0 if here is None else heads_of(connection, mine).get(here, 0)
        recent = [] if here is None else stretch(connection, here, 1, last, limit=RECENT).entries
    return page(
        request, "market.html", actor, nodes=nodes, here=None if here is None else node_text(here),
        licences=sorted((one.shown() for one in licences), key=lambda row: str(row["valid_to"])),
        parties=[one.shown() for one in parties], ends_by=ends, goods=goods, today=ledger.today().isoformat(),
        recent=[line_of(one) for one in recent], sees_log=may(actor, Action.SEE_READINGS),
        holds=[one.shown() for one in holds if one.row["status"] == "active"], units=list(Unit),
        kinds=list(VoucherKind), may_check=may(actor, Action.CHECK_GOODS), may_label=may(actor, Action.CAPTURE),
    )  # fmt: skip


def _licences_end(connection: Connection, parties: Sequence[Record]) -> dict[str, date]:
    """When the first licence in force of each of these parties ends."""
    codes = [one.key[0] for one in parties]
    question = (
        select(licence.c.party, func.min(licence.c.valid_to).label("ends"))
        .where(licence.c.party.in_(codes), licence.c.status == str(Status.ACTIVE))
        .group_by(licence.c.party)
    )
    return {row.party: row.ends for row in connection.execute(question)}
