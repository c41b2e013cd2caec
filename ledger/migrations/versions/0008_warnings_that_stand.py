"""Warnings that stand, and those of a node, without looking at all that ever were."""

from alembic import op

revision = "0008"
down_revision = "0007"

INDEXES = """
CREATE INDEX warning_open ON warning (level, raised_at, node) WHERE status <> 'closed' AND hidden IS NULL;
CREATE INDEX warning_by_node ON warning (node, raised_at);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(INDEXES)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
