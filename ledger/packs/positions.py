"""How packs stand now, kept by the transaction that records: read, moved by what is recorded, written if unchanged.

A command names the version that it was decided on; where a rival was faster it is told so and decided again. Rivals
in other processes are seen when the rows are written: then the whole transaction is tried again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from ledger.drafts import Draft
from ledger.errors import Outpaced
from ledger.gs1 import Key
from ledger.packs.effects import Outcome, Standing, after, outcomes_json, outcomes_of, product_of, taken_back
from ledger.packs.states import State
from ledger.reads import read_entries

Json = dict[str, Any]
Row = tuple[int, Standing]
"""A pack's version, and how it stands."""

_READ = """
SELECT code, version, state, since, node, by, done, held, batch, expires, units, made FROM pack WHERE code = ANY(%b)
"""
_ALIKE = """
unnest(%b::text[], %b::int[]) AS v(code, n) JOIN unnest(%b::int[], %b::int[], %b::int[], %b::text[], %b::smallint[],
    %b::timestamptz[], %b::int[], %b::text[], %b::text[], %b::bool[], %b::text[], %b::date[], %b::int[], %b::bool[])
    AS g(n, seen, version, product, state, since, node, by, done, held, batch, expires, units, made) USING (n)
"""
"""Packs, each with the number of its group: those of one event went the same way together, and are sent as one."""
_UPDATE = f"""
UPDATE pack AS p SET (version, state, since, node, by, done, held, batch, expires, units, made)
    = ROW(g.version, g.state, g.since, g.node, g.by, g.done, g.held, g.batch, g.expires, g.units, g.made)
FROM {_ALIKE} WHERE p.code = v.code AND p.version = g.seen
"""  # noqa: S608 - a text of our own
_INSERT = f"""
INSERT INTO pack (code, version, state, since, node, by, done, held, batch, expires, units, made, product)
SELECT v.code, g.version, g.state, g.since, g.node, g.by, g.done, g.held, g.batch, g.expires, g.units, g.made, g.product
FROM {_ALIKE} ORDER BY 1
"""  # noqa: S608 - the same


def read_rows(connection: psycopg.Connection, codes: Iterable[str]) -> dict[Key, Row]:
    """How these packs stand, as far as anything is recorded of them."""
    found = connection.execute(_READ, [sorted(set(codes))], binary=True)
    return {Key(row[0]): row_of(row) for row in found}


def row_of(row: Sequence[Any]) -> Row:
    """A row of the table `pack`: code, version, and the columns of a standing."""
    _, version, state, since, node, by, done, held, batch, expires, units, made = row
    return version, Standing(State(state), since, node, by, done, held, batch, expires, units, made)


class Positions:
    """The packs that a batch of requests is about, while it is recorded."""

    def __init__(self, connection: psycopg.Connection, drafts: Sequence[Draft]) -> None:
        self._connection = connection
        codes = {effect.code for draft in drafts for effect in draft.effects}
        self._before = read_rows(connection, codes) if codes else {}
        self._now = dict(self._before)
        self._told: dict[bytes, list[Outcome]] = {}

    def outpaced(self, expected: Mapping[Key, int]) -> Outpaced | None:
        """Whether a pack is at another version (0: none) than the one that its command was decided on."""
        for code, version in expected.items():
            if (self._now[code][0] if code in self._now else 0) != version:
                return Outpaced(f"somebody else was faster with {code}; look at it and try again")
        return None

    def move(self, draft: Draft, at: datetime, by: str) -> list[Json] | None:
        """Move the packs as the draft says; the outcome as its entry will hold it, None where there is none."""
        outcomes: list[Outcome] = []
        alike: dict[tuple[Any, ...], Standing | None] = {}
        for effect in draft.effects:
            version, before = self._now.get(effect.code, (0, None))
            way = (before, *effect[1:])  # what stands alike goes alike
            now = alike[way] if way in alike else alike.setdefault(way, after(before, effect, at, draft.node, by))
            if now is not None:
                outcomes.append(Outcome(effect.code, version + 1, before, now))
                self._now[effect.code] = (version + 1, now)
        if outcomes and draft.event_id is not None:
            self._told[draft.event_id.id] = outcomes
        return outcomes_json(outcomes, len(draft.effects)) if outcomes else None

    def move_back(self, draft: Draft, place: tuple[int, int] | None) -> list[Json] | None:
        """What an event now declared in error did is undone, for packs with which nothing was done since."""
        if draft.event_id is None:
            return None
        done = self._told.get(draft.event_id.id)
        if done is None and place is not None:
            done = self._recorded(*place)
        outcomes: list[Outcome] = []
        for one in done or ():
            if self._now.get(one.code) == (one.version, one.after):
                back = taken_back(one)
                outcomes.append(back)
                self._now[one.code] = (back.version, back.after)
        return outcomes_json(outcomes, len(draft.effects)) if outcomes else None

    def _recorded(self, node: int, seq: int) -> list[Outcome]:
        """The outcomes of an entry, and the rows of its packs."""
        found = read_entries(self._connection, [(node, seq)])
        outcomes = [outcome for entry in found for outcome in outcomes_of(entry.body)]
        missing = {one.code for one in outcomes} - self._now.keys()
        if missing:
            rows = read_rows(self._connection, missing)
            self._before |= rows
            self._now |= rows
        return outcomes

    def write(self) -> bool:
        """Write what moved; whether every row was still as it was read. If not, everything is to be rolled back."""
        moved = sorted(code for code, row in self._now.items() if self._before.get(code) != row)
        known = [code for code in moved if code in self._before]
        new = [code for code in moved if code not in self._before]
        if known and self._connection.execute(_UPDATE, self._groups(known)).rowcount != len(known):
            return False
        if new:
            self._connection.execute(_INSERT, self._groups(new))
        return True

    def _groups(self, codes: Sequence[Key]) -> list[list[Any]]:
        """The packs with the numbers of their groups, and the columns of the groups."""
        groups: dict[tuple[int, int, str, Standing], int] = {}
        numbers = []
        for code in codes:
            version, standing = self._now[code]
            seen = self._before[code][0] if code in self._before else 0
            numbers.append(groups.setdefault((seen, version, product_of(code), standing), len(groups)))
        standings = [standing for *_, standing in groups]
        return [
            [*codes], numbers, [*groups.values()], *([group[n] for group in groups] for n in range(3)),
            [int(one.state) for one in standings], [one.since for one in standings], [one.node for one in standings],
            [one.by for one in standings], [one.done for one in standings], [one.held for one in standings],
            [one.batch for one in standings], [one.expires for one in standings], [one.units for one in standings],
            [one.made for one in standings],
        ]  # fmt: skip
