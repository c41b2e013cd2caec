"""The portal, signing in and out, files of the pages, and the board; and how errors look on a page."""

import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, cast
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from api import problems
from api.auth import Anybody, LedgerHere, Rule
from api.console import session
from api.console.pages import HEADERS, HERE, page
from api.ledger import now
from ledger.access import Action, Actor
from ledger.board import read_board, read_goods
from ledger.errors import (
    LedgerError,
    LimitExceeded,
    NotAllowed,
    NotRecorded,
    NotSignedIn,
    TooOften,
    UnreadableCode,
)

router = APIRouter(tags=["pages"], include_in_schema=False)
SeesBoard = Annotated[Actor, Depends(Rule(Action.SEE_BOARD))]
PAGES = ("/console", "/terminal", "/login", "/t/", "/01/", "/00/")
BODY_MAX = 10_000
_STATIC = {
    path.name: (data := path.read_bytes(), f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    for path in (HERE / "static").iterdir() if path.is_file()
}  # fmt: skip
"""Each file of the pages, and what its content is known by."""


@router.get("/login")
async def login_page(request: Request, _: Anybody) -> Response:
    """Where one signs in."""
    return page(request, "login.html", wrong=False, following=_following(request.query_params.get("next")))


@router.post("/login")
async def login(request: Request, ledger: LedgerHere, _: Anybody) -> Response:
    """An API key becomes a session."""
    _require_own(request)
    body = await request.body() if int(request.headers.get("content-length") or BODY_MAX + 1) <= BODY_MAX else b""
    given = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    following = _following(given.get("next"))
    try:
        await ledger.ask(ledger.gate, given.get("key", "").strip())
    except NotSignedIn:
        return page(request, "login.html", wrong=True, following=following, status=401)
    answer = RedirectResponse(following, 303, HEADERS)
    session.begin(answer, request, session.sealed(ledger.secret, given["key"].strip(), now() + session.LASTS))
    return answer


@router.post("/logout")
async def logout(request: Request, _: Anybody) -> Response:
    """The session ends here; the key stays valid."""
    _require_own(request)
    answer = RedirectResponse("/", 303, HEADERS)
    session.end(answer)
    return answer


def _following(given: str | None) -> str:
    """Where to go after signing in: a page of ours, whatever a link to the sign-in page says."""
    path = (given or "").partition("?")[0]
    ours = path.partition("/")[0] == "" and path.split("/")[1:2] in (["console"], ["terminal"])
    plain = not re.search(r"//|\\|[\x00-\x20\x7f]", path) and ".." not in path
    return given if given is not None and ours and plain and given.isprintable() else "/console"


def _require_own(request: Request) -> None:
    """`NotAllowed` if another site's page sent this."""
    origin = request.headers.get("origin")
    if origin is not None and origin.split("://")[-1] != request.headers.get("host"):
        raise NotAllowed("this came from a page of another site")


@router.get("/static/{name}")
async def static_file(request: Request, name: str, _: Anybody) -> Response:
    """A script, style or picture of the pages: kept by browsers, and asked for anew only where it changed.

    Scripts import each other, so that an old one must never meet a new one: no age is promised.
    """
    found = _STATIC.get(name)
    if found is None:
        raise NotRecorded(f"there is no file {name[:60]!r}")
    data, mark = found
    headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": mark}
    if mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream", headers=headers)


@router.get("/console")
def board_page(request: Request, ledger: LedgerHere, actor: SeesBoard) -> Response:
    """Today's board."""
    since = ledger.end_of(ledger.today() - timedelta(days=1))
    with ledger.database.read() as connection:
        board = read_board(connection, since, actor.reach)
    return page(request, "board.html", actor, board=board)


@router.get("/console/completeness")
def completeness_page(request: Request, ledger: LedgerHere, actor: SeesBoard) -> Response:
    """How complete today's chains are by goods."""
    since = ledger.end_of(ledger.today() - timedelta(days=1))
    with ledger.database.read() as connection:
        goods, more = read_goods(connection, since, actor.reach)
    return page(request, "completeness.html", actor, goods=goods, more=more)


def portal(request: Request) -> Response:
    """What a browser sees at the top: one field for a code, and the way in."""
    return page(request, "portal.html")


Handler = Callable[[Request, Exception], Awaitable[Response]]


def install(app: FastAPI) -> None:
    """Errors on a page look like a page; who is not signed in is led to the sign-in page. Programs get problems."""
    for kind in (LedgerError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _for_browsers(cast(Handler, app.exception_handlers[kind])))


def _for_browsers(otherwise: Handler) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        wants = "text/html" in request.headers.get("accept", "")
        if not wants or request.method != "GET" or not request.url.path.startswith(PAGES):
            return await otherwise(request, error)
        if isinstance(error, NotSignedIn):
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(asked, safe='/')}", 303, HEADERS)
        status, text = _told(error)
        actor = getattr(request.state, "actor", None)
        detail = str(error) if isinstance(error, LedgerError) and status < 500 else ""
        if isinstance(error, RequestValidationError):
            detail = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        shown = page(request, "error.html", actor, status, text=text, detail=detail)
        if isinstance(error, TooOften):
            shown.headers["Retry-After"] = str(error.retry_after_s)
        return shown

    return handle


def _told(error: Exception) -> tuple[int, str]:
    """An error's status, and which text tells it."""
    if isinstance(error, HTTPException):
        return error.status_code, "no_page" if error.status_code == 404 else "error"
    if isinstance(error, RequestValidationError):
        return 400, "error"
    text = "error"
    if isinstance(error, NotAllowed):
        text = "not_allowed"
    elif isinstance(error, NotRecorded | UnreadableCode):
        text = "not_found"
    elif isinstance(error, LimitExceeded | TooOften):
        text = "too_many"
    return problems.STATUS[type(error)][0] if isinstance(error, LedgerError) else 500, text
