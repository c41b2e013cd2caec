"""Recalls over HTTP: their clocks, and who holds what at the moment. They are filed as every record is."""

from typing import Any

from fastapi import APIRouter

from api.auth import LedgerHere, MayCheckPacks
from api.ledger import now
from ledger.codes import node_text
from ledger.entries import time_text
from ledger.packs.recalls import clocks, who_holds
from ledger.packs.states import STATE_NAMES, State
from ledger.registers import RECALL
from ledger.registry import record

router = APIRouter(tags=["packs"])
GONE = frozenset({State.SUPPLIED, State.EXPORTED, State.STOLEN, State.FREE_SAMPLE, State.CHECKED_OUT})
SAFE = frozenset({State.DESTROYED, State.LOCKED, State.SAMPLED})


@router.get("/recalls/{recall}")
def get_recall(ledger: LedgerHere, actor: MayCheckPacks, recall: str) -> dict[str, Any]:
    """A recall with its clocks, who holds what of it, and how far it has come. Others' nodes only for who sees all."""
    with ledger.database.read() as connection:
        found = record(connection, ledger.vault, RECALL, (recall,))
        held = who_holds(connection, found.row)
    at = now()
    total = sum(one.count for one in held)
    safe = sum(one.count for one in held if one.state in SAFE)
    gone = sum(one.count for one in held if one.state in GONE)
    return {
        **found.shown(),
        "clocks": [
            {
                "clock": str(due.clock), "chinese": due.clock.chinese, "by": time_text(due.by),
                "done": due.done and time_text(due.done), "late": due.late, "source": due.source,
            }
            for due in clocks(found.row, at)
        ],
        "packs": {"recorded": total, "safe": safe, "gone": gone, "outstanding": total - safe - gone},
        "holders": [
            {
                "node": node_text(one.node), "state": one.state.word, "chinese": STATE_NAMES[one.state],
                "here": one.held, "count": one.count,
            }
            for one in held if actor.may_see(one.node)
        ],
    }  # fmt: skip
