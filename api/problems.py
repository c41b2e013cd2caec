"""What HTTP and the command line answer when the ledger says no: one table, nowhere else.

Problems are RFC 9457 documents; their types are EPCIS 2.0's own exception names.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ledger.documents import BODY_BYTES_MAX, EVENTS_MAX, write_json
from ledger.errors import (
    AskAgain,
    Busy,
    Conflict,
    Held,
    LedgerDamaged,
    LedgerError,
    LimitExceeded,
    LogRolledBack,
    Misconfigured,
    NotAllowed,
    NotEnough,
    NotRecorded,
    NotSignedIn,
    Outpaced,
    TooOften,
    Unacceptable,
    UnacceptableEvent,
    UnacceptableRecord,
    Unavailable,
    UnreadableCode,
)
from scanners.symbols import Unreadable

STATUS: dict[type[LedgerError], tuple[int, str]] = {
    Unacceptable: (400, "ValidationException"),
    UnacceptableEvent: (400, "ValidationException"),
    UnacceptableRecord: (400, "ValidationException"),
    UnreadableCode: (400, "QueryParameterException"),
    Unreadable: (400, "QueryParameterException"),
    Conflict: (409, "ResourceAlreadyExistsException"),
    AskAgain: (409, "ResourceAlreadyExistsException"),
    Outpaced: (409, "ResourceAlreadyExistsException"),
    NotEnough: (409, "ResourceAlreadyExistsException"),
    Held: (409, "ResourceAlreadyExistsException"),
    NotRecorded: (404, "NoSuchNameException"),
    NotSignedIn: (401, "SecurityException"),
    NotAllowed: (403, "SecurityException"),
    LimitExceeded: (413, "CaptureLimitExceededException"),
    TooOften: (429, "ImplementationException"),
    Busy: (503, "ImplementationException"),
    Unavailable: (503, "ImplementationException"),
    LedgerDamaged: (500, "ImplementationException"),
    LogRolledBack: (500, "ImplementationException"),
    Misconfigured: (500, "ImplementationException"),
}
"""Status and EPCIS exception of every error; a test asserts that none is missing."""

_TOLD: dict[type[LedgerError], str] = {
    Unavailable: "the ledger's database cannot be used right now; the same request again, under the same ids, is safe",
    Misconfigured: "this installation is not set up rightly; its operator finds the reason in the messages of serve",
}
"""What callers over HTTP are told of errors whose own text names hosts, paths and roles of the installation."""

_OTHER = {404: "NoSuchNameException", 405: "ImplementationException", 415: "UnsupportedMediaTypeException"}
LIMIT_HEADERS = {"GS1-EPCIS-Capture-Limit": str(EVENTS_MAX), "GS1-EPCIS-Capture-File-Size-Limit": str(BODY_BYTES_MAX)}
BREACHES_SHOWN = 100
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    code: {
        "description": what,
        "content": {"application/problem+json": {"schema": {
            "type": "object", "required": ["type", "title", "status"], "properties": {
                "type": {"type": "string", "examples": ["epcisException:NoSuchNameException"]},
                "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"},
            }
        }}},
    }
    for code, what in (("4XX", "what is wrong with the request"), ("5XX", "why it cannot be answered now"))
}  # fmt: skip
"""How OpenAPI describes every error."""


class UnsupportedMediaType(LedgerError):
    """The body is of a kind that is not taken here."""


class NotAcceptable(LedgerError):
    """The caller asks for another version of the standard than this installation speaks."""


STATUS[UnsupportedMediaType] = (415, "UnsupportedMediaTypeException")
STATUS[NotAcceptable] = (406, "NotAcceptableException")
_log = logging.getLogger(__name__)


def problem(error: LedgerError) -> dict[str, Any]:
    """The problem document of an error, each breach of a document included."""
    status, name = STATUS[type(error)]
    document: dict[str, Any] = {
        "type": f"epcisException:{name}", "title": _title(error), "status": status,
        "detail": _TOLD.get(type(error)) or str(error),
    }  # fmt: skip
    if isinstance(error, Unacceptable):
        document["errors"] = [
            {"event": breach.event, "path": breach.path, "reason": breach.reason}
            for breach in error.breaches[:BREACHES_SHOWN]
        ]
    if isinstance(error, AskAgain):
        document["again"] = True
    if isinstance(error, NotEnough | Held):
        document["refused"] = error.refusal
    if isinstance(error, Held):
        document["holds"] = [
            {"scope": one.scope, "target": one.target, "hold": one.order, "until": one.until, "recall": one.recall}
            for one in error.stops
        ]
    if isinstance(error, UnreadableCode):
        document |= {"kind": error.kind, "position": error.position, "reason": error.reason}
    return document


def _title(error: LedgerError) -> str:
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(error).__name__).strip()
    return words.capitalize()


def _answer(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(write_json(document), document["status"], headers, "application/problem+json")


async def answer(_: Request, error: Exception) -> Response:
    """The problem document of an error of the ledger; any other error goes on."""
    if not isinstance(error, LedgerError):
        raise error
    headers = {}
    if type(error) in _TOLD:
        _log.error("%s", error)
    if isinstance(error, Busy | Unavailable):
        headers["Retry-After"] = str(Busy.retry_after_s)
    if isinstance(error, TooOften):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, NotSignedIn):
        headers["WWW-Authenticate"] = 'Bearer realm="suyuan"'
    if isinstance(error, LimitExceeded):
        headers |= LIMIT_HEADERS
    return _answer(problem(error), headers)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    name = _OTHER.get(error.status_code, "ImplementationException")
    document = {"type": f"epcisException:{name}", "title": error.detail, "status": error.status_code}
    return _answer(document, dict(error.headers or {}))


async def _bad_parameter(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    document = {"type": "epcisException:QueryParameterException", "title": "Bad parameter", "status": 400}
    return _answer({**document, "detail": detail})


async def _broken_off(_: Request, __: Exception) -> Response:
    """The caller hung up before the body was whole: nobody reads this, and it is no fault to report."""
    return _answer({"type": "epcisException:ValidationException", "title": "The body broke off", "status": 400})


async def _unforeseen(_: Request, __: Exception) -> Response:
    """A fault of our own: the server's messages have it whole, the caller nothing of it."""
    document = {"type": "epcisException:ImplementationException", "title": "Fault in the ledger", "status": 500}
    return _answer({**document, "detail": "this should not have happened; the messages of serve say more"})


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem document."""
    app.add_exception_handler(LedgerError, answer)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(ClientDisconnect, _broken_off)
    app.add_exception_handler(Exception, _unforeseen)


def exit_code(error: LedgerError) -> int:
    """The command line's exit status: 2 for what the user gave, 1 for what the ledger or the installation is."""
    return 2 if STATUS[type(error)][0] < 500 else 1
