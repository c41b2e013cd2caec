"""The trace as a picture that one can look at, with the table beside it."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup
from sqlalchemy import select

from api.auth import LedgerHere, MayTrace
from api.console.pages import page
from ledger.codes import key_of_code
from ledger.tables import node
from ledger.trace import Direction, trace
from reports.graph import draw, nodes_in, svg
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
    document = to_json(graph)
    picture = draw(graph, names, columns)
    shown = "".join(f"{level}," for level in sorted(columns))
    column = f"/console/trace?{urlencode({'code': code.strip(), 'direction': direction})}&open={shown}"
    found: dict[str, Any] = {
        "svg": Markup(svg(picture, code, "/console/trace?code=", column)),  # noqa: S704 - all texts in it are escaped there
        "events": document["events"][:ROWS_SHOWN], "more": max(0, len(document["events"]) - ROWS_SHOWN),
        "ends": document["openEnds"][:ROWS_SHOWN], "open_ends": len(document["openEnds"]), "cut": graph.cut,
        "items": len(graph.items), "steps": len(graph.steps),
        "names": {f"{number:09d}": name for number, name in names.items()},
    }  # fmt: skip
    return page(request, "trace.html", actor, code=code.strip(), direction=direction, found=found)
