"""Every table, with the question that each index answers. `ledger/migrations` builds exactly this; a test compares.

The first column of every large table's key spreads it over a distributed PostgreSQL (Citus): by node, by id or by item.
No foreign key crosses two of them, and no question joins two that are spread differently.

Ledger tables are append-only twice over: the application's role has no right to change them, and a trigger refuses
everybody else. `head`, `edge`, `log_cursor`, `balance` and `pack` hold present positions, the tables of `REGISTRY`
present state; all of them can be computed again from the entries, and `suyuan audit` does. Private values are not in
the entries: these hold their digests.
"""

from sqlalchemy import DDL, Table
from sqlalchemy import event as sqlalchemy_event

from ledger.tables.chains import (
    balance,
    capture_job,
    checkpoint,
    edge,
    entry,
    event,
    event_id,
    head,
    item_entry,
    log_cursor,
    log_range,
    pack,
    pack_job,
    report_job,
    tile,
)
from ledger.tables.columns import metadata
from ledger.tables.followers import (
    delivery,
    follower,
    notice,
    outlet,
    rule_book,
    rule_count,
    rule_pending,
    rule_window,
    warning,
)
from ledger.tables.registers import (
    certificate,
    code_series,
    credential,
    drug_market,
    goods,
    goods_yield,
    handling,
    hold,
    licence,
    node,
    party,
    product,
    published_report,
    recall,
    recall_answer,
    receiving_difference,
    region,
    registry_search,
    registry_version,
    report_schedule,
    rule_set,
    silence,
    subscription,
)

__all__ = [
    "APPEND_ONLY",
    "DELIVERIES",
    "FOLLOWERS",
    "POSITIONS",
    "REGISTRY",
    "SEARCH",
    "VERSIONS",
    "balance",
    "capture_job",
    "certificate",
    "checkpoint",
    "code_series",
    "credential",
    "delivery",
    "drug_market",
    "edge",
    "entry",
    "event",
    "event_id",
    "follower",
    "goods",
    "goods_yield",
    "handling",
    "head",
    "hold",
    "item_entry",
    "licence",
    "log_cursor",
    "log_range",
    "metadata",
    "node",
    "notice",
    "outlet",
    "pack",
    "pack_job",
    "party",
    "product",
    "published_report",
    "recall",
    "recall_answer",
    "receiving_difference",
    "region",
    "registry_search",
    "registry_version",
    "report_job",
    "report_schedule",
    "rule_book",
    "rule_count",
    "rule_pending",
    "rule_set",
    "rule_window",
    "silence",
    "subscription",
    "tile",
    "warning",
]

APPEND_ONLY = (entry, event, event_id, item_entry, log_range, tile, checkpoint)
"""Inserted by the application, never changed by it; `entry` alone can lose its sealed part, by another role."""
POSITIONS = (head, edge, log_cursor, balance, pack)
REGISTRY = (
    node, credential, region, goods, goods_yield, product, party, licence, code_series, recall, drug_market,
    receiving_difference, certificate, hold, silence, handling, rule_set, subscription, recall_answer,
    report_schedule, published_report,
)  # fmt: skip
"""Rows with a version, changed only together with an entry that holds their new state."""
FOLLOWERS = (follower, rule_book, rule_window, rule_pending, rule_count, warning, notice)
"""What followers of the log keep: the same again, whenever the log is followed from its beginning."""
DELIVERIES = (delivery, outlet)
"""How notices were delivered: of the network, not of the log."""
VERSIONS = registry_version
"""Inserted by the application with every change of the registry; private values can be emptied by another role."""
SEARCH = registry_search
"""Changed with the registry by the application, emptied by another role."""

_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME;
END $$
"""


def _trigger(table: Table) -> str:
    operations = "DELETE OR TRUNCATE" if table in (entry, VERSIONS) else "UPDATE OR DELETE OR TRUNCATE"
    return (
        f"CREATE TRIGGER {table.name}_is_append_only BEFORE {operations} ON {table.name} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


_ERASE_ONLY = """
CREATE TRIGGER entry_is_erased_only BEFORE UPDATE ON entry FOR EACH ROW
WHEN (NEW.salt IS NOT NULL OR NEW.sealed IS NOT NULL
      OR (NEW.node, NEW.seq, NEW.kind, NEW.record_time, NEW.hash, NEW.data)
         IS DISTINCT FROM (OLD.node, OLD.seq, OLD.kind, OLD.record_time, OLD.hash, OLD.data))
EXECUTE FUNCTION refuse_change()
"""

_RESEAL_ONLY = """
CREATE TRIGGER registry_version_is_resealed_only BEFORE UPDATE ON registry_version FOR EACH ROW
WHEN ((NEW.subject, NEW.version, NEW.node, NEW.seq, NEW.record_time)
      IS DISTINCT FROM (OLD.subject, OLD.version, OLD.node, OLD.seq, OLD.record_time))
EXECUTE FUNCTION refuse_change()
"""

for _statement in (_REFUSE, *map(_trigger, (*APPEND_ONLY, VERSIONS)), _ERASE_ONLY, _RESEAL_ONLY):
    sqlalchemy_event.listen(metadata, "after_create", DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
