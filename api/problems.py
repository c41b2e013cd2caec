"""What HTTP and the command line answer when the ledger says no: one table, nowhere else.

Problems are RFC 9457 documents; their types are EPCIS 2.0's own exception names.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ledger.documents import BODY_BYTES_MAX, EVENTS_MAX, write_json
from ledger.errors import (
    Busy,
    Conflict,
    LedgerDamaged,
    LedgerError,
    LimitExceeded,
    LogRolledBack,
    Misconfigured,
    NotAllowed,
    NotRecorded,
    NotSignedIn,
    UnacceptableEvent,
    Unavailable,
    UnreadableCode,
)

STATUS: dict[type[LedgerError], tuple[int, str]] = {
    UnacceptableEvent: (400, "ValidationException"),
    UnreadableCode: (400, "QueryParameterException"),
    Conflict: (409, "ResourceAlreadyExistsException"),
    NotRecorded: (404, "NoSuchNameException"),
    NotSignedIn: (401, "SecurityException"),
    NotAllowed: (403, "SecurityException"),
    LimitExceeded: (413, "CaptureLimitExceededException"),
    Busy: (503, "ImplementationException"),
    Unavailable: (503, "ImplementationException"),
    LedgerDamaged: (500, "ImplementationException"),
    LogRolledBack: (500, "ImplementationException"),
    Misconfigured: (500, "ImplementationException"),
}
"""Status and EPCIS exception of every error; a test asserts that none is missing."""

_OTHER = {404: "NoSuchNameException", 405: "ImplementationException", 415: "UnsupportedMediaTypeException"}
LIMIT_HEADERS = {"GS1-EPCIS-Capture-Limit": str(EVENTS_MAX), "GS1-EPCIS-Capture-File-Size-Limit": str(BODY_BYTES_MAX)}
BREACHES_SHOWN = 100


class UnsupportedMediaType(LedgerError):
    """The body is of a kind that is not taken here."""


STATUS[UnsupportedMediaType] = (415, "UnsupportedMediaTypeException")


def problem(error: LedgerError) -> dict[str, Any]:
    """The problem document of an error, each breach of a document included."""
    status, name = STATUS[type(error)]
    document: dict[str, Any] = {
        "type": f"epcisException:{name}", "title": _title(error), "status": status, "detail": str(error)
    }  # fmt: skip
    if isinstance(error, UnacceptableEvent):
        document["errors"] = [
            {"event": breach.event, "path": breach.path, "reason": breach.reason}
            for breach in error.breaches[:BREACHES_SHOWN]
        ]
    if isinstance(error, UnreadableCode):
        document |= {"kind": error.kind, "position": error.position, "reason": error.reason}
    return document


def _title(error: LedgerError) -> str:
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(error).__name__).strip()
    return words.capitalize()


def _answer(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(write_json(document), document["status"], headers, "application/problem+json")


async def _ledger_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, LedgerError):
        raise error
    headers = {}
    if isinstance(error, Busy | Unavailable):
        headers["Retry-After"] = str(Busy.retry_after_s)
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


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem document."""
    app.add_exception_handler(LedgerError, _ledger_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)


def exit_code(error: LedgerError) -> int:
    """The command line's exit status: 2 for what the user gave, 1 for what the ledger or the installation is."""
    return 2 if STATUS[type(error)][0] < 500 else 1
