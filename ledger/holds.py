"""What is held or recalled, at a node, of goods, lots, drugs' batches and parties: one indexed question for all of it.

A hold stops what it names until it is released or its time is over: 000000000 everywhere, else at its own node. A
recall of food stops its lots, to which all that was made of them was added when it was filed (`ledger/filing.py`).
Recalls of drugs are decided on at the counter for packs.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import psycopg
from sqlalchemy import Connection, text

from ledger.codes import CITY, node_text
from ledger.errors import Stop
from ledger.gs1 import Key
from ledger.identifiers import uri_of
from ledger.registers.drugs import Nature, RecallStatus
from ledger.registers.supervision import HoldStatus, Scope
from ledger.steps import STEPS, How

STOPPED_STEPS = frozenset(
    step.name
    for step in STEPS
    if step.how in (How.ENTER, How.MAKE, How.LEAVE, How.SELL, How.USE)
    and step.name not in ("loss", "destruction", "return_in", "return_out")
)
"""Steps that nothing held may take: it may be tested, counted, sent back, lost and destroyed, and nothing else."""
_GOODS_DIGITS = range(3, 9)
"""How long a code of a group of goods is that a hold may name."""


class Asked(NamedTuple):
    """One thing that is asked after: what it is to a hold, how the asker names it, how a hold may name it."""

    scope: str
    name: str
    target: str


_MAY_MATTER = (
    f"EXISTS (SELECT FROM hold WHERE status = '{HoldStatus.ACTIVE}'"
    f" AND scope IN ('{Scope.PRODUCT_BATCH}', '{Scope.GOODS}'))"
)
"""Products' other names are looked up only where somebody holds goods at all."""
_QUESTION = f"""
WITH asked AS (SELECT * FROM unnest({{0}}, {{1}}, {{2}}) AS a(scope, name, target)),
wanted AS (
    SELECT scope, name, target FROM asked
    UNION SELECT a.scope, a.name, other.code || substr(a.target, length(split_part(a.target, '/', 1)) + 1)
    FROM asked AS a CROSS JOIN LATERAL (
        SELECT gtin AS code FROM product WHERE product = split_part(a.target, '/', 1) AND gtin IS NOT NULL
        UNION ALL SELECT product FROM product WHERE gtin = split_part(a.target, '/', 1)
    ) AS other WHERE a.scope IN ('{Scope.PRODUCT_BATCH}', '{Scope.GOODS}') AND {_MAY_MATTER}
    UNION SELECT a.scope, a.name, left(p.goods, digits)
    FROM asked AS a JOIN product AS p ON p.product = a.target AND a.scope = '{Scope.GOODS}'
    CROSS JOIN generate_series({_GOODS_DIGITS.start}, {_GOODS_DIGITS.stop - 1}) AS digits
    WHERE length(p.goods) >= digits AND {_MAY_MATTER}
)
SELECT w.scope, w.name, h.hold, h.until, false FROM wanted AS w
JOIN hold AS h ON h.target = w.target AND h.scope = w.scope
WHERE h.status = '{HoldStatus.ACTIVE}' AND (h.until IS NULL OR h.until > {{3}})
    AND left(h.hold, 9) = ANY({{4}})
UNION ALL
SELECT a.scope, a.name, r.recall, NULL, true FROM asked AS a
JOIN recall AS r ON r.lots && ARRAY[a.target]
WHERE a.scope = '{Scope.LOT}' AND r.status = '{RecallStatus.ACTIVE}' AND r.nature = '{Nature.REAL}'
ORDER BY 5, 3, 1, 2
"""  # noqa: S608 - words of our own lists
_NAMED = text(_QUESTION.format(*(f"cast(:{name} AS text[])" for name in ("scopes", "names", "targets")),
                               "cast(:now AS text)", "cast(:nodes AS text[])"))  # fmt: skip
_PLACED = _QUESTION.format("%b::text[]", "%b::text[]", "%b::text[]", "%b::text", "%b::text[]").encode()
_EVERYWHERE = node_text(CITY)


def held(
    connection: Connection, node: int, party: str | None, items: Iterable[Key], goods: Iterable[str], now: datetime, *,
    batches: Iterable[str] = (),
) -> list[Stop]:  # fmt: skip
    """What of this is held at the node at that moment, or recalled: one question.

    `batches` are of packs whose codes do not say them, as product and batch with a slash between.
    """
    known = [Asked(Scope.PRODUCT_BATCH, one, one) for one in batches]
    scopes, names, targets = _columns(dict.fromkeys([*asked_of(node, party, items, goods), *known]))
    nodes = [_EVERYWHERE, node_text(node)]
    given = {"scopes": scopes, "names": names, "targets": targets, "now": _utc(now), "nodes": nodes}
    return [*dict.fromkeys(_stop(row) for row in connection.execute(_NAMED, given))]


def held_batches(
    connection: psycopg.Connection, parties: Iterable[tuple[int, str]], batches: Sequence[tuple[str, str | None]],
    now: datetime,
) -> dict[int, list[Stop]]:  # fmt: skip
    """By node, what is held there of these products and their batches, and of whoever acts there: one question."""
    acting: dict[str, set[str]] = {}
    for node, party in parties:
        acting.setdefault(node_text(node), set()).add(party)
    asked = [
        *(Asked(Scope.PARTY, party, party) for found in acting.values() for party in sorted(found)),
        *(Asked(Scope.NODE, node, node) for node in acting),
        *(Asked(Scope.GOODS, product, product) for product in dict.fromkeys(product for product, _ in batches)),
        *(Asked(Scope.PRODUCT_BATCH, f"{p}/{batch}", f"{p}/{batch}") for p, batch in batches if batch is not None),
    ]
    rows = connection.execute(_PLACED, [*_columns(asked), _utc(now), [_EVERYWHERE, *acting]], binary=True)
    stops = list(dict.fromkeys(map(_stop, rows)))
    return {int(node): [one for one in stops if _concerns(one, node, found)] for node, found in acting.items()}


def _concerns(stop: Stop, node: str, parties: set[str]) -> bool:
    """Whether an order that was found for several nodes together holds at this one, for whoever acts there."""
    if stop.order[:9] not in (_EVERYWHERE, node):
        return False
    return {Scope.PARTY: parties, Scope.NODE: {node}}.get(Scope.of(stop.scope), {stop.target}) >= {stop.target}


def asked_of(node: int, party: str | None, items: Iterable[Key], goods: Iterable[str]) -> list[Asked]:
    """What a hold may name of this: the lots and their batches, the goods and the groups above them, party and node."""
    asked = [Asked(Scope.NODE, node_text(node), node_text(node))]
    asked += [Asked(Scope.PARTY, party, party)] if party is not None else []
    for item in dict.fromkeys(items):
        asked.append(Asked(Scope.LOT, uri_of(item), uri_of(item)))
        asked += [Asked(Scope.PRODUCT_BATCH, one, one) for one in _batch_of(item)]
    for code in dict.fromkeys(goods):
        asked.append(Asked(Scope.GOODS, code, code))
        if code.isdecimal() and len(code) <= _GOODS_DIGITS.stop - 1:
            asked += [Asked(Scope.GOODS, code, code[:digits]) for digits in _GOODS_DIGITS if digits < len(code)]
    return asked


def _batch_of(item: Key) -> Iterator[str]:
    """A GS1 lot as product and batch."""
    parts = item.split("/")
    if parts[0] == "01" and len(parts) >= 4 and parts[2] == "10":
        yield f"{parts[1]}/{unquote(parts[3])}"


def _columns(asked: Iterable[Asked]) -> tuple[list[str], list[str], list[str]]:
    rows = list(asked)
    return [str(one.scope) for one in rows], [one.name for one in rows], [one.target for one in rows]


def _utc(now: datetime) -> str:
    """As the register keeps moments, so that texts compare as times do."""
    return now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stop(row: Iterable[Any]) -> Stop:
    scope, name, order, until, recall = row
    return Stop(scope, name, order, until, recall)
