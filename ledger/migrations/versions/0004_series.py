"""Series of codes, and what a node does about taking more than is left."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE code_series (
    series TEXT NOT NULL,
    version INTEGER NOT NULL,
    next INTEGER NOT NULL,
    first INTEGER NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (series)
);
COMMENT ON TABLE code_series IS 'how far each series of codes is given away, present state';
COMMENT ON COLUMN code_series.series IS 'what is numbered: scheme, party or node, day';
COMMENT ON COLUMN code_series.next IS 'the first number that nobody has';
COMMENT ON COLUMN code_series.first IS 'of the last range that was given away';
COMMENT ON COLUMN code_series.holder IS 'the credential that got it';
ALTER TABLE node ADD COLUMN stock_limit TEXT;
COMMENT ON COLUMN node.stock_limit IS 'what becomes of taking more than is left: warn or refuse';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
