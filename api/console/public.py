"""The page of a code, for whoever holds it; and GS1 Digital Link: the codes of labels lead there.

The bytes of the entries that are told lie in the answer for machines, and nowhere else: so no second address has to
decide whose entries may be asked for, and nobody walks through a chain by its numbers. The bytes hold the open part
only, by design; a code opens those of its own way.
"""

import time
from math import ceil
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from api.auth import AnybodyLooks, LedgerHere
from api.bodies import json_answer
from api.console.pages import HEADERS, page
from api.console.telling import document, parts
from api.console.texts import plain
from api.ledger import Ledger, now
from api.paths import uri_in_path
from ledger.errors import NotRecorded, TooOften, UnreadableCode
from ledger.gs1 import Key
from ledger.identifiers import GS1_URI, canonical_key
from ledger.story import Name, Story, asked_key, names_of, tell

router = APIRouter(tags=["pages"], include_in_schema=False)
VARIES = {**HEADERS, "Vary": "Accept"}
LINKSET = "application/linkset+json"
_VOC = "https://gs1.org/voc/"
LINK_TYPES = {"gs1:defaultLink": "", "gs1:pip": "", "gs1:traceability": "", "gs1:recallStatus": "#alerts"}
"""GS1 Web Vocabulary: what our page is to a code, and where on it."""


def count_look(request: Request) -> None:
    """One look-up of this address; `TooOften` if it made too many."""
    address = None if request.client is None else request.client.host
    wait_s = request.app.state.looks.wait_s(address, time.monotonic())
    if wait_s:
        raise TooOften(ceil(wait_s))


async def _counted(request: Request) -> None:
    """Before a thread is waited for."""
    count_look(request)


Counted = Annotated[None, Depends(_counted)]
"""A route whose every request is a look-up of its address."""


@router.get("/t")
async def look_up(_: AnybodyLooks, code: str = "") -> Response:
    """From the field of the portal to the page of the code."""
    where = f"/t/{quote(code.strip(), safe='()')}" if code.strip() else "/"
    return RedirectResponse(where, 303, HEADERS)


@router.get("/t/{code:path}")
def trace_page(request: Request, ledger: LedgerHere, _: AnybodyLooks, __: Counted, code: str) -> Response:
    """What is told of a code: a page, or JSON where that is asked for."""
    key = asked_key(uri_in_path(request, "/t/", code))
    story, names = _told(ledger, key)
    if request.query_params.get("linkType") in ("all", "linkset"):
        return _linkset(request, story)
    accept = request.headers.get("accept", "")
    if "text/html" not in accept and ("json" in accept or "linkType" in request.query_params):
        return json_answer(document(story, names), headers=VARIES)
    answer = page(request, "public.html", story=story, **parts(story, names, ledger.settings.zone, now()))
    answer.headers["Vary"] = "Accept"
    return answer


def _told(ledger: Ledger, key: Key) -> tuple[Story, dict[str, Name]]:
    with ledger.database.read() as connection:
        story = tell(connection, key, now())
        return story, names_of(connection, story)


# --- GS1 Digital Link -----------------------------------------------------------------------------


@router.get("/01/{rest:path}")
def product_link(request: Request, ledger: LedgerHere, _: AnybodyLooks, rest: str) -> Response:
    """A GTIN, with lot or serial or without, as the label's own URI has it."""
    return _resolved(request, ledger, f"01/{rest}")


@router.get("/00/{rest:path}")
def container_link(request: Request, ledger: LedgerHere, _: AnybodyLooks, rest: str) -> Response:
    """An SSCC."""
    return _resolved(request, ledger, f"00/{rest}")


def _resolved(request: Request, ledger: Ledger, decoded: str) -> Response:
    """To the page by default, or where a link type leads; all links as a set (RFC 9264)."""
    raw = request.scope.get("raw_path", b"").decode("ascii", "replace").lstrip("/") or decoded
    try:
        key = canonical_key(GS1_URI + raw)
    except UnreadableCode as error:
        raise NotRecorded(f"{error}; read the label again") from None
    kind = request.query_params.get("linkType", "gs1:defaultLink")
    if kind in ("all", "linkset") or LINKSET in request.headers.get("accept", ""):
        count_look(request)
        return _linkset(request, _told(ledger, key)[0])
    if kind not in LINK_TYPES:
        raise NotRecorded(f"no link of this type leads from here, only {', '.join(LINK_TYPES)}, all and linkset")
    return RedirectResponse(f"/t/{quote(key, safe='/%')}{LINK_TYPES[kind]}", 307, VARIES)


def _linkset(request: Request, story: Story) -> Response:
    """What there is about the code, for programs."""
    base = str(request.base_url)
    to = f"{base}t/{quote(story.code, safe='/%:')}"
    title = "、".join(one.chinese or one.code for one in story.names) or plain("public_title")
    html: dict[str, Any] = {"title": title, "type": "text/html", "hreflang": ["zh", "en"]}
    found: dict[str, Any] = {"anchor": to if ":" in story.code else base + story.code, "itemDescription": title}
    for kind, where in LINK_TYPES.items():
        found[_VOC + kind.removeprefix("gs1:")] = [{"href": to + where, **html}]
    found[f"{_VOC}traceability"].append({"href": to, "title": title, "type": "application/json"})
    return json_answer({"linkset": [found]}, headers={**VARIES, "Content-Type": LINKSET})
