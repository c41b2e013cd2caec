"""Drugs as reports ask for them: which product a code is of, and the traces of all packs of a lot, together."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, select

from ledger.access import Actor
from ledger.errors import NotRecorded
from ledger.gs1 import Key
from ledger.tables import pack
from ledger.tables import product as product_table
from ledger.trace import Direction, Graph, Item, trace

PACKS_MAX = 200
"""How many packs of a lot are traced; more, and it is cut."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is registered of a drug."""

    product: str
    name: str
    english: str | None
    gtin: str | None
    national_code: str | None
    dosage_form: str | None
    specification: str | None
    units_per_pack: int | None
    unit: str | None


def product_of(connection: Connection, key: Key, gtin: str) -> Product | None:
    """The registered product of a code: by its GTIN, by the pack's own row, or by the first digits of a trace code."""
    recorded = connection.execute(select(pack.c.product).where(pack.c.code == key)).scalar()
    digits = key.rpartition(":")[2]
    names = {gtin, recorded or "", digits[:7] if digits.isdigit() else ""} - {""}
    question = select(product_table).where(product_table.c.product.in_(names) | product_table.c.gtin.in_(names))
    row: Any = connection.execute(question.order_by(product_table.c.product).limit(1)).one_or_none()
    return None if row is None else Product(
        row.product, row.name, row.english, row.gtin, row.national_code, row.dosage_form, row.specification,
        row.units_per_pack, row.unit,
    )  # fmt: skip


def lot_trace(
    connection: Connection, key: Key, product: Product | None, actor: Actor
) -> tuple[Graph, int] | None:  # fmt: skip
    """The traces of a lot's packs as one, and how many packs are recorded; None where it is no lot with packs.

    Packs that the actor may not see are left out; `NotRecorded` where none is left.
    """
    parts = key.split("/")
    if parts[0] != "01" or "10" not in parts[2::2] or "21" in parts[2::2]:
        return None
    batch = unquote(parts[parts.index("10", 2) + 1])
    names = {parts[1]} | ({product.product} if product is not None else set())
    question = select(pack.c.code).where(pack.c.product.in_(names), pack.c.batch == batch).order_by(pack.c.code)
    codes = [Key(code) for code in connection.execute(question).scalars()]
    if not codes:
        return None
    whole, seen = Graph(key), 0
    for code in codes[:PACKS_MAX]:
        try:
            found = trace(connection, code, Direction.BOTH, actor)
        except NotRecorded:
            continue
        seen += 1
        whole.steps |= found.steps
        whole.cut |= found.cut
        for name, item in found.items.items():
            whole.items.setdefault(name, Item(name, item.level)).steps.update(item.steps)
    if not seen:
        raise NotRecorded(f"nothing is recorded about {key}")
    whole.cut |= len(codes) > PACKS_MAX
    return whole, len(codes) if actor.sees_all else seen
