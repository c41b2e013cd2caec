"""The trace as a picture that one can look at, with the table beside it."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup
from sqlalchemy import select

from api.auth import LedgerHere, MayTrace
from api.console.entries import step_name
from api.console.pages import may, page
from ledger.access import Action
from ledger.bulletins import goods_names
from ledger.codes import key_of_code
from ledger.identifiers import identifies_goods_closely, uri_of
from ledger.tables import node
from ledger.trace import Direction, trace
from reports.graph import Called, draw, goods_in, nodes_in, svg
from reports.trace import to_json

router = APIRouter(tags=["pages"], include_in_schema=False)
ROWS_SHOWN = 500


@router.get("/console/trace")
def trace_page(
    request: Request, ledger: LedgerHere, actor: MayTrace, code: str = "",
    direction: Annotated[Direction, Query()] = Direction.BOTH, opened: Annotated[str, Query(alias="open")] = "",
) -> Response:  # fmt: skip
    """Where a code came from and where it went: a picture by steps, open ends marked, and each event in a table."""
    if not code.strip():
        return page(request, "trace.html", actor, code="", direction=direction, found=None)
    columns = frozenset(int(one) for one in opened.split(",") if one.lstrip("-").isdigit() and len(one) < 5)
    with ledger.database.read() as connection:
        graph = trace(connection, key_of_code(code.strip()), direction, actor)
        wanted = select(node.c.node, node.c.name).where(node.c.node.in_(nodes_in(graph)))
        names = {row.node: row.name for row in connection.execute(wanted)}
        goods = goods_names(connection, goods_in(graph))
    document = to_json(graph)
    picture = draw(graph, Called(names, goods, ledger.settings.zone), columns)
    shown = "".join(f"{level}," for level in sorted(columns))
    column = f"/console/trace?{urlencode({'code': code.strip(), 'direction': direction})}&open={shown}"
    found: dict[str, Any] = {
        "svg": Markup(svg(picture, code, "/console/trace?code=", column)),  # noqa: S704 - all texts in it are escaped there
        "events": document["events"][:ROWS_SHOWN], "more": max(0, len(document["events"]) - ROWS_SHOWN),
        "ends": document["openEnds"][:ROWS_SHOWN], "open_ends": len(document["openEnds"]), "cut": graph.cut,
        "items": len(graph.items), "steps": len(graph.steps),
        "lot": uri_of(graph.start) if identifies_goods_closely(graph.start) else "",
        "names": {f"{number:09d}": name for number, name in names.items()},
    }  # fmt: skip
    return page(request, "trace.html", actor, code=code.strip(), direction=direction, found=found, step=_step,
                may_recall=may(actor, Action.RECALL), may_label=may(actor, Action.CAPTURE))  # fmt: skip


def _step(event: dict[str, Any]) -> tuple[str, str]:
    """What an event of a trace is called."""
    return step_name(event.get("bizStep", event["type"]))
