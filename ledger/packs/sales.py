"""How often a pack was sold, for whoever asks: sales that stand, and nothing else of its way.

Source: `drugs_and_warnings.md` 3: stock moves shown to buyers as scans were the complaint; only sales count.
"""

from datetime import datetime

from sqlalchemy import Connection, select, tuple_

from ledger.gs1 import Key
from ledger.index import Role
from ledger.packs.effects import outcomes_of
from ledger.packs.states import OTHER_STEPS, TRACES, Command, State
from ledger.reads import entries_at, in_error
from ledger.tables import event, item_entry

PLACES_MAX, ENTRIES_MAX = 10_000, 200
"""Entries that speak of a pack, and sales and returns among them; whoever makes more of one pack is not followed."""
_STEPS = [row.business_step for row in TRACES if row.command in (Command.SUPPLY, Command.UNDO, Command.RETURN)]
_STEPS += [step for step, command in OTHER_STEPS.items() if command is Command.SUPPLY]


def sales_of(connection: Connection, code: Key) -> list[datetime]:
    """When the pack was sold, without what was undone, brought back or declared in error, oldest first."""
    places = connection.execute(
        select(item_entry.c.node, item_entry.c.seq)
        .where(item_entry.c.item == code, item_entry.c.role == Role.OBJECT)
        .limit(PLACES_MAX)
    )
    wanted = [(row.node, row.seq) for row in places]
    question = select(event.c.node, event.c.seq).where(
        tuple_(event.c.node, event.c.seq).in_(wanted), event.c.business_step.in_(_STEPS)
    )
    found = entries_at(connection, [(row.node, row.seq) for row in connection.execute(question.limit(ENTRIES_MAX))])
    wrong = in_error(connection, [one.entry.body["event"]["eventID"] for one in found]) if found else set()
    steps = [
        outcome
        for one in found if one.entry.body["event"]["eventID"] not in wrong
        for outcome in outcomes_of(one.entry.body) if outcome.code == code
    ]  # fmt: skip
    sold: list[datetime] = []
    for step in sorted(steps, key=lambda step: step.version):
        if step.after.state is State.SUPPLIED:
            sold.append(step.after.since)
        elif step.before is not None and step.before.state is State.SUPPLIED and sold:
            sold.pop()
    return sold
