"""Balances: how much of each lot is where."""

from decimal import Decimal
from typing import cast

import psycopg
from alembic import op

from ledger.balances import Holding, added, goods_of, moves_of
from ledger.declared import taken_back
from ledger.entries import decode

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE balance (
    item TEXT NOT NULL,
    holder TEXT NOT NULL,
    uom TEXT NOT NULL,
    goods TEXT NOT NULL,
    quantity NUMERIC NOT NULL,
    PRIMARY KEY (item, holder, uom)
);
CREATE INDEX balance_by_holder ON balance (holder, goods);
COMMENT ON TABLE balance IS 'how much of each lot is where';
COMMENT ON COLUMN balance.holder IS 'a node (9 digits), or an operator''s place at it (13)';
COMMENT ON COLUMN balance.uom IS 'unit of measure; empty for a count';
COMMENT ON COLUMN balance.goods IS 'what the lot is a lot of, as far as its code says';
"""


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(TABLES)
    found: dict[Holding, Decimal] = {}
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    with driver.cursor("events") as rows:  # server-side, since there may be many
        rows.execute("SELECT data FROM entry WHERE kind = 1")
        for (data,) in rows:
            entry = decode(bytes(data))
            added(found, moves_of(entry.body["event"], entry.node))
    added(found, taken_back(driver))
    if found:
        connection.exec_driver_sql(
            "INSERT INTO balance (item, holder, uom, goods, quantity) VALUES (%s, %s, %s, %s, %s)",
            [(*holding, goods_of(holding.item), quantity) for holding, quantity in found.items()],
        )


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
