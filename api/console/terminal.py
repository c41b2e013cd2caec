"""The terminal of a stall or pharmacy in a browser: one page, its own worker, and the ledger's ordinary routes.

The page keeps what it could not send in the browser's own database, under the same ids, as `scanners/terminal` does.
"""

import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from api.auth import Anybody, LedgerHere, MayCapture
from api.bodies import json_answer
from api.console.pages import HEADERS, HERE, page
from api.console.texts import plain
from ledger.access import Actor
from ledger.codes import node_text
from ledger.registers.goods import Unit
from ledger.registers.supervision import VoucherKind
from ledger.steps import STEPS, How, Step
from ledger.tables import goods as goods_table
from ledger.tables import node as node_table
from scanners.labels import Symbol, code128, qr

router = APIRouter(tags=["pages"], include_in_schema=False)
DRUG_KINDS = ("pharmacy", "hospital")
NODES_MAX = 200
SLIPS_MAX = 100
WORDS = (
    "yes", "no", "queued", "caps", "layout", "ime", "sold", "recorded", "may_sell", "may_not", "camera_none", "confirm",
    "slip", "set_aside", "again", "again_what", "alert", "seen", "online", "offline",
)  # fmt: skip
"""What the terminal's script says: texts of the catalogue whose names begin with till_."""


@router.get("/terminal")
def terminal_page(request: Request, ledger: LedgerHere, actor: MayCapture) -> Response:
    """Scan, and see yes or no."""
    with ledger.database.read() as connection:
        question = select(node_table.c.node, node_table.c.name, node_table.c.kind).where(
            node_table.c.open, node_table.c.node > 1
        )
        if not actor.sees_all:
            question = question.where(node_table.c.node.in_(sorted(actor.nodes)))
        rows = connection.execute(question.order_by(node_table.c.node).limit(NODES_MAX)).all()
        goods = connection.execute(select(goods_table.c.goods, goods_table.c.name).order_by(goods_table.c.goods)).all()
    nodes = [
        {"node": node_text(row.node), "name": row.name, "kind": row.kind or "", "drugs": row.kind in DRUG_KINDS}
        for row in rows
    ]
    steps = [
        {"name": step.name, "chinese": step.chinese, "at": sorted(step.at or ()), "needs": _asked(step)}
        for step in STEPS
    ]
    return page(
        request,
        "terminal.html",
        actor,
        nodes=nodes,
        steps=steps,
        goods=goods,
        home=_home(actor),
        units=list(Unit),
        papers=list(VoucherKind),
        words={word: plain(f"till_{word}") for word in WORDS},
    )


@router.get("/terminal/slips")
def slips(request: Request, _: MayCapture, code: Annotated[list[str], Query(max_length=SLIPS_MAX)]) -> Response:
    """What is printed on the slips of these codes: the link for a telephone, and pictures of it and of the digits.

    A pixel a module, so that what a terminal keeps for when it has no network is small.
    """
    found = {}
    for one in code:
        link = f"{request.base_url}t/{one}"
        found[one] = {"link": link, "digits": _picture(code128(one)), "qr": _picture(qr(link))}
    return json_answer({"slips": found})


def _picture(symbol: Symbol) -> str:
    return f"data:image/png;base64,{base64.b64encode(symbol.png(module_px=1, caption=False)).decode()}"


def _asked(step: Step) -> list[str]:
    """The fields that a step asks for; a price where goods change hands, papers where they come in."""
    more = {"price"} if step.how in (How.SELL, How.LEAVE) else set()
    if step.how is How.ENTER:
        more = {"voucher", "counterparty"}
    return sorted(step.needs | more)


def _home(actor: Actor) -> str:
    return node_text(actor.home_node)


@router.get("/terminal/worker.js")
async def worker(_: Anybody) -> Response:
    """The page's worker: it keeps the page for when there is no network. Its scope is the terminal alone."""
    text = (HERE / "static" / "terminal-worker.js").read_bytes()
    return Response(text, media_type="text/javascript", headers={**HEADERS, "Service-Worker-Allowed": "/terminal"})
