"""The ledger over HTTP: one application, one module a subject, every route with its rule."""

import gc
import sys

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Lifespan

from api import (
    access_checks,
    bills,
    bulk,
    capture,
    credentials,
    health,
    log,
    looking,
    notices,
    official,
    packs,
    problems,
    publishing,
    recalls,
    receiving,
    registry,
    reports,
    scans,
    search,
    stock,
    trace,
    verification,
    warnings,
)  # fmt: skip
from api.auth import Anybody
from api.console import entries, labels, market, public, registers, supervision, terminal, tracing, views
from api.console import reports as report_pages
from api.console.looks import Looks
from api.feed import Feed
from api.ledger import Ledger

_TOP = [
    "capture",
    "events",
    "trace",
    "search",
    "entries",
    "checkpoint",
    "tile",
    "proof",
    "key",
    "registry",
    "scans",
    "steps",
    "symbols",
    "leases",
    "balances",
    "official",
    "packs",
    "bills",
    "receiving",
    "recalls",
    "reports",
    "access-checks",
    "warnings",
    "rules",
    "notices",
    "subscriptions",
    "verify",
    "credentials",
    "health",
]


_MODULES = (
    bulk, packs, scans, looking, capture, official, stock, bills, receiving, recalls, access_checks, verification,
    trace, search, log, registry, warnings, notices, publishing, reports, credentials, supervision, entries, registers,
    tracing, market, report_pages, labels, terminal, public, views, health,
)  # fmt: skip
"""In the order in which a path is looked for."""


def create_app(ledger: Ledger | None, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The application on an open ledger, which stays its caller's to close; or on one that `lifespan` opens."""
    app = FastAPI(
        title="Suyuan 溯源",
        summary="A city's traceability ledger for meat, vegetables and medicines: append-only and provable.",
        version="0.1.0",
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        redoc_url=None,
        docs_url=None,
        lifespan=lifespan,
        responses=problems.DOCUMENTED,
    )
    if ledger is not None:
        open_to(app, ledger)
    problems.install(app)
    views.install(app)
    for module in _MODULES:
        for route in module.router.routes:  # an included router is asked by itself: half of a short request's time
            if isinstance(route, APIRoute):
                route.responses = {**problems.DOCUMENTED, **route.responses}
            app.router.routes.append(route)

    @app.get("/", tags=["EPCIS 2.0"])
    def top(request: Request, _: Anybody) -> Response:
        """The top-level resources, as EPCIS 2.0 lists them; a browser gets the portal."""
        if "text/html" in request.headers.get("accept", ""):
            return views.portal(request)
        return JSONResponse({"@set": _TOP, "type": "Collection", "member": _TOP}, headers=capture.VERSIONS)

    tune_runtime()
    return app


def open_to(app: FastAPI, ledger: Ledger) -> None:
    """Let the application use `ledger`, and go on with jobs that were left."""
    app.state.ledger = ledger
    app.state.bulk = bulk.Runner(ledger)
    app.state.reports = publishing.Runner(ledger)
    app.state.feed = Feed(ledger.database)
    app.state.looks = Looks()


def tune_runtime() -> None:
    """Settings of the interpreter that answers gain from.

    Look for cycles less often: documents are trees of short-lived objects, which reference counts free. And let a
    thread that the database answered go on after a millisecond, not five, while others compute.
    """
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.001)
