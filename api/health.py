"""Whether the process lives, and whether it can do its work."""

from typing import Any

from fastapi import APIRouter, Response

from api.auth import AnybodyHealth, LedgerHere
from ledger.rights import require_current

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live(_: AnybodyHealth) -> dict[str, Any]:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
def ready(ledger: LedgerHere, _: AnybodyHealth, response: Response) -> dict[str, Any]:
    """The database can be read and has this release's schema, and the log is being signed; 503 otherwise."""
    require_current(ledger.database)
    trouble = ledger.worker.trouble if ledger.worker else None
    if trouble:
        response.status_code = 503
        return {"status": "not signing", "trouble": "the log is not being signed; the messages of serve say why"}
    return {"status": "ready", "trouble": None}
