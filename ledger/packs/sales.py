"""How often a pack was sold, for whoever asks: sales that stand, and nothing else of its way.

Source: `drugs_and_warnings.md` 3: stock moves shown to buyers as scans were the complaint; only sales count.
"""

from datetime import datetime

from sqlalchemy import Connection, select

from ledger.gs1 import Key
from ledger.index import Role
from ledger.packs.effects import outcomes_of
from ledger.packs.states import State
from ledger.reads import entries_at, in_error
from ledger.tables import item_entry

ENTRIES_MAX = 200
"""Entries that are looked at; whoever scans one pack again and again is not followed for ever."""


def sales_of(connection: Connection, code: Key) -> list[datetime]:
    """When the pack was sold, without what was undone or declared in error, oldest first."""
    question = (
        select(item_entry.c.node, item_entry.c.seq)
        .where(item_entry.c.item == code, item_entry.c.role.in_([Role.OBJECT, Role.INPUT]))
        .order_by(item_entry.c.event_time)
        .limit(ENTRIES_MAX)
    )
    found = entries_at(connection, [(row.node, row.seq) for row in connection.execute(question)])
    wrong = in_error(connection, [one.entry.body["event"]["eventID"] for one in found]) if found else set()
    steps = [
        (outcome.version, outcome.before and outcome.before.state, outcome.after.state, one.entry.record_time)
        for one in found if one.entry.body["event"]["eventID"] not in wrong
        for outcome in outcomes_of(one.entry.body) if outcome.code == code
    ]  # fmt: skip
    sold: list[datetime] = []
    for _, before, now, at in sorted(steps, key=lambda step: step[0]):
        if now is State.SUPPLIED:
            sold.append(at)
        elif before is State.SUPPLIED and sold:  # undone, or brought back
            sold.pop()
    return sold
