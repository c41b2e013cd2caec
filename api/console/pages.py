"""How a page is made: templates, headers, and what every page has."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.console import texts
from ledger.access import ALLOWED, Action, Actor
from ledger.fields import in_zone
from ledger.registers.drugs import Grade, Nature, RecallStatus
from ledger.registers.form import Word
from ledger.registers.parties import LicenceKind, PartyKind, Status
from ledger.registers.supervision import Scope
from ledger.registry import Purpose

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}  # fmt: skip

MENU: tuple[tuple[str, str, Action], ...] = (
    ("/console", "board", Action.SEE_BOARD),
    ("/console/warnings", "warnings", Action.READ_WARNINGS),
    ("/console/trace", "trace", Action.TRACE),
    ("/console/recalls", "recalls", Action.CHECK_PACKS),
    ("/console/market", "market", Action.REGISTER),
    ("/console/registry", "registers", Action.READ_REGISTER),
    ("/console/entries", "entries", Action.READ_ENTRY),
    ("/console/labels", "labels", Action.CAPTURE),
    ("/console/reports", "reports", Action.TRACE),
    ("/console/assessment", "assessment", Action.SEE_BOARD),
    ("/console/log", "log", Action.SEE_READINGS),
    ("/terminal", "terminal", Action.CAPTURE),
)
"""Pages in the menu, and the action that each is."""

_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
KINDS: dict[str, type[Word]] = {
    "grade": Grade, "nature": Nature, "recall_status": RecallStatus, "party": PartyKind, "status": Status,
    "licence": LicenceKind, "scope": Scope,
}  # fmt: skip
"""Lists of the registers whose words pages show."""


def word(kind: str, value: str) -> Markup:
    """A word of a register's list, in Chinese and as it is written."""
    return worded(KINDS[kind], value)


def worded(words: Iterable[Word], value: str) -> Markup:
    """A word of these, in Chinese and as it is written; what is none of them as it is."""
    return texts.phrase(next((one.chinese for one in words if one == value), ""), value)


_environment.globals.update(word=word, t=texts.both, plain=texts.plain, phrase=texts.phrase)


def page(
    request: Request, template: str, actor: Actor | None = None, status: int = 200, **more: Any
) -> HTMLResponse:  # fmt: skip
    """A page for a reader; `more` is what its template shows."""
    zone = request.app.state.ledger.settings.zone
    text = _environment.get_template(template).render(
        actor=actor, csrf=getattr(request.state, "csrf", ""), path=request.url.path, local=lambda at: local(at, zone),
        menu=[(path, name) for path, name, action in MENU if actor is not None and may(actor, action)],
        may_search=actor is not None and may(actor, Action.READ_REGISTER),
        search_purposes=list(Purpose) if actor is not None and may(actor, Action.READ_PRIVATE) else [], **more,
    )  # fmt: skip
    return HTMLResponse(text, status, HEADERS)


def may(actor: Actor, action: Action) -> bool:
    """Whether the reader's role covers an action."""
    allowed = ALLOWED[action]
    return allowed is None or actor.role in allowed


def local(at: datetime | str | None, zone: ZoneInfo) -> str:
    """A moment in the city's time, to the minute; in UTC where the calendar ends before the city's does."""
    if at is None:
        return "—"
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    shown = in_zone(moment if moment.tzinfo else moment.replace(tzinfo=UTC), zone)
    return f"{shown:%Y-%m-%d %H:%M}{'' if shown.tzinfo is zone else 'Z'}"
