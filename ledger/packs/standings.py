"""What a decision needs to know, read for many packs at once: set-based, and the same number of questions for each.

Reads nothing that grows with a batch: a recall of a million packs is one row, found by its product.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import psycopg

from ledger.codes import DRUG_URN, node_text
from ledger.documents import read_json
from ledger.drafts import id_key
from ledger.entries import Entry, decode
from ledger.errors import Stop
from ledger.gs1 import Key, digital_link_key
from ledger.holds import held_batches
from ledger.index import Role
from ledger.packs.decision import Known, Order, Product, Reason, Recalled, twisted_forms
from ledger.packs.effects import Standing, product_of
from ledger.packs.positions import Row, read_rows
from ledger.packs.states import VARIANTS, Variant
from ledger.reads import read_entries
from ledger.registers.drugs import Market, Nature
from ledger.registers.supervision import Scope

_REFERENCE = """
WITH asked AS (SELECT unnest(%b::text[]) AS product),
named AS (
    SELECT p.product, p.gtin, p.name, p.units_per_pack, p.national_code FROM product AS p
    WHERE p.product IN (SELECT product FROM asked) OR p.gtin IN (SELECT product FROM asked)
)
SELECT json_build_object(
    'market', (SELECT json_build_array(rules, soft, replay_s, gln) FROM drug_market WHERE market = 'drugs'),
    'nodes', (SELECT json_agg(json_build_array(node, open)) FROM node WHERE node = ANY(%b)),
    'products', (SELECT json_agg(json_build_array(product, gtin, name, units_per_pack, national_code)) FROM named),
    'recalls', (
        SELECT json_agg(json_build_array(recall, product, batches, nature) ORDER BY recall) FROM recall
        WHERE product IN (SELECT product FROM asked UNION SELECT product FROM named UNION SELECT gtin FROM named)
    )
)::text
"""
"""What is small and read at each round, as one answer: a round's cost is its number of questions."""
_SIBLINGS = """
SELECT product, batch FROM unnest(%b::text[], %b::text[]) AS q(product, batch)
WHERE EXISTS (SELECT FROM pack AS p WHERE p.product = q.product AND p.batch = q.batch AND p.made)
"""
_PARENTS = f"SELECT DISTINCT item FROM item_entry WHERE item = ANY(%b) AND role = {int(Role.PARENT)}"  # noqa: S608 - a number
_REFUSED = f"""
SELECT i.item, i.node, i.seq FROM unnest(%b::text[], %b::int[], %b::timestamptz[]) AS q(item, node, since)
CROSS JOIN LATERAL (
    SELECT item, node, seq FROM item_entry AS e
    WHERE e.item = q.item AND e.node = q.node AND e.role = {int(Role.REFUSED)} AND e.event_time >= q.since
    ORDER BY e.event_time DESC LIMIT 100
) AS i
"""  # noqa: S608 - a number
_IDS = "SELECT id, node, seq FROM event_id WHERE id = ANY(%b) AND declaration = 0"
_ENTRIES = """
SELECT id, data, sealed FROM unnest(%b::bytea[], %b::int[], %b::bigint[]) AS p(id, node, seq) JOIN entry
    USING (node, seq)
"""


@dataclass(frozen=True, slots=True)
class Standings:
    """What is known of the packs that are asked for."""

    variant: Variant
    rows: dict[Key, Row]
    nodes: dict[int, bool]
    parents: frozenset[str]
    """Codes of containers: what is asked for them is asked for their content."""
    products: dict[str, Product]
    recalls: dict[str, list[Recalled]]
    siblings: frozenset[tuple[str, str]] = frozenset()
    twins: dict[Key, Key] = field(default_factory=dict)
    stops: Mapping[int, Sequence[Stop]] = field(default_factory=dict)
    """By node: what is held there of these packs' products and batches, of the parties, and the node itself."""

    def known(self, order: Order, today: date, party: str | None = None) -> Known:
        """What there is to know for one order beside its own row. `party`: whose order it is; else the node's."""
        product = product_of(order.code)
        return Known(
            today, self.products.get(product), self.recalls.get(product, ()),
            (product, order.batch) in self.siblings, self.twins.get(order.code), self._holds(order, product, party),
        )  # fmt: skip

    def _holds(self, order: Order, product: str, party: str | None) -> tuple[str, ...]:
        """Orders to stop that concern an order's pack, or whoever acts where it is."""
        stops = self.stops.get(order.node)
        if not stops:
            return ()
        batches = {f"{product}/{batch}" for batch in self.batches(order)}
        named = {
            Scope.PARTY: {acting_for(order, party)}, Scope.NODE: {node_text(order.node)}, Scope.GOODS: {product},
            Scope.PRODUCT_BATCH: batches,
        }  # fmt: skip
        return tuple(dict.fromkeys(one.order for one in stops if one.target in named.get(Scope.of(one.scope), ())))

    def batches(self, order: Order) -> set[str]:
        """The batches that a pack may be of: what was recorded, and what was read now."""
        row = self.rows.get(order.code)
        return {batch for batch in (order.batch, row and row[1].batch) if batch}


def variant_of(row: Sequence[Any] | None) -> Variant:
    """The market's rules as the register has them; China's where it has none."""
    if row is None:
        return VARIANTS[Market.CHINA]
    rules, soft, replay_s, gln = row
    found = replace(VARIANTS[Market.of(rules)], gln=gln)
    found = found if soft is None else replace(found, soft=soft)
    return found if replay_s is None else replace(found, replay=timedelta(seconds=replay_s))


def read_standings(connection: psycopg.Connection, orders: Sequence[Order]) -> Standings:
    """What is known of these orders' packs, nodes and products, in one snapshot and two round trips at most."""
    codes = sorted({order.code for order in orders})
    asked = sorted({product_of(code) for code in codes})
    nodes = sorted({order.node for order in orders})
    with connection.pipeline():
        reference = connection.execute(_REFERENCE, [asked, nodes], binary=True)
        parents = connection.execute(_PARENTS, [codes], binary=True)
        rows = read_rows(connection, codes)
    (row,) = reference
    said = read_json(row[0].encode())
    named: dict[str, set[str]] = {product: {product} for product in asked}
    described: dict[str, Product] = {}
    for product, gtin, name, units, national in said["products"] or ():
        for one in (product, gtin):
            if one in named:
                named[one] |= {product, gtin} - {None}
                described[one] = Product(name, units, national)
    found = Standings(
        variant_of(said["market"]), rows, dict(said["nodes"] or ()), frozenset(row[0] for row in parents), described,
        _recalls(said["recalls"] or (), named),
    )  # fmt: skip
    strange = [order for order in orders if order.code not in rows and order.code not in found.parents]
    return _with_neighbours(connection, found, strange) if strange else found


def acting_for(order: Order, party: str | None) -> str:
    """Whose order it is: the party of a bill, else the node's own operator."""
    return party or f"{node_text(order.node)}0000"


def with_stops(
    connection: psycopg.Connection, known: Standings, asked: Sequence[tuple[Order, str | None]], now: datetime
) -> Standings:  # fmt: skip
    """The same with what is held of these orders, each with its party: one question, for all nodes together."""
    parties = {(order.node, acting_for(order, party)) for order, party in asked}
    batches = {(product_of(order.code), batch) for order, _ in asked for batch in (None, *known.batches(order))}
    return replace(known, stops=held_batches(connection, parties, sorted(batches, key=str), now))


def _recalls(rows: Iterable[Sequence[Any]], named: dict[str, set[str]]) -> dict[str, list[Recalled]]:
    """By product, under whichever of its names it was recalled."""
    by_name: dict[str, list[Recalled]] = {}
    for recall, product, batches, nature in rows:
        one = Recalled(recall, frozenset(batches) if batches else None, nature == Nature.EXERCISE)
        by_name.setdefault(product, []).append(one)
    if not by_name:
        return {}
    return {
        product: [one for name in sorted(names) for one in by_name.get(name, ())] for product, names in named.items()
    }


def _with_neighbours(connection: psycopg.Connection, found: Standings, strange: Sequence[Order]) -> Standings:
    """For packs of which nothing is recorded: whether others of the batch are, and which one a wrong keyboard hit."""
    batches = {(product_of(order.code), order.batch) for order in strange if order.batch is not None}
    forms = {twin: order.code for order in strange for twin in _twins(order.code)}
    siblings = connection.execute(
        _SIBLINGS, [[product for product, _ in batches], [batch for _, batch in batches]], binary=True
    )
    rows = read_rows(connection, forms) if forms else {}
    twins = {forms[code]: code for code in rows}
    return replace(found, siblings=frozenset((row[0], row[1]) for row in siblings), twins=twins)


def _twins(code: Key) -> Iterable[Key]:
    if code.startswith(DRUG_URN):
        return ()
    head, _, serial = code.partition("/21/")
    gtin = head.removeprefix("01/")
    return [digital_link_key([("01", gtin), ("21", form)]) for form in twisted_forms(unquote(serial))]


def refused_before(
    connection: psycopg.Connection, done: Mapping[tuple[Key, int], Standing]
) -> dict[tuple[str, int], int]:  # fmt: skip
    """How often what was done with a pack was refused to be done again at a node, since then. What came late from an
    outbox does not count."""
    asked = [[code for code, _ in done], [node for _, node in done], [standing.since for standing in done.values()]]
    places = connection.execute(_REFUSED, asked, binary=True).fetchall()
    if not places:
        return {}
    wanted = {(node, code) for code, node, _ in places}
    counted: Counter[tuple[str, int]] = Counter()
    for entry in read_entries(connection, [(row[1], row[2]) for row in places]):
        for one in entry.body["refusal"]["packs"]:
            if (entry.node, one["code"]) in wanted and Reason.ALREADY_HERE in one["reasons"]:
                counted[one["code"], entry.node] += 1
    return counted


def recorded_under(connection: psycopg.Connection, names: Iterable[str]) -> dict[str, tuple[Entry, bytes | None]]:
    """The entries recorded under these names, each with its sealed part."""
    by_id = {id_key(name): name for name in names}
    places = connection.execute(_IDS, [[*by_id]], binary=True).fetchall()
    if not places:
        return {}
    found = connection.execute(_ENTRIES, [[row[n] for row in places] for n in range(3)], binary=True)
    return {by_id[id_]: (decode(data), sealed) for id_, data, sealed in found}
