"""Every table, with the question that each index answers. `ledger/migrations` builds exactly this; a test compares.

The first column of every large table's key spreads it over a distributed PostgreSQL (Citus): by node, by id or by item.
No foreign key crosses two of them, and no question joins two that are spread differently.

Ledger tables are append-only twice over: the application's role has no right to change them, and a trigger refuses
everybody else. `head`, `edge`, `log_cursor`, `balance` and `pack` hold present positions, the tables of `REGISTRY`
present state; all of them can be computed again from the entries, and `suyuan audit` does. Private values are not in
the entries: these hold their digests.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy import (
    event as sqlalchemy_event,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _digest() -> Column[object]:
    return Column("digest", Text, comment="SHA-256 of the salted private values of this version")


head = Table(
    "head",
    metadata,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("octet_length(hash) = 32", name="head_hash_is_sha256"),
    comment="the last sequence and hash of each chain",
)

entry = Table(
    "entry",
    metadata,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    _time("record_time"),
    Column("hash", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False, comment="the entry's bytes: what is hashed"),
    Column("salt", LargeBinary, comment="with sealed, the only columns that may ever be emptied"),
    Column("sealed", LargeBinary),
    CheckConstraint("seq > 0 AND octet_length(hash) = 32", name="entry_has_place_and_hash"),
    CheckConstraint("(salt IS NULL) = (sealed IS NULL)", name="entry_is_sealed_with_salt"),
    comment="the truth: one row an entry",
)

event = Table(
    "event",
    metadata,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", SmallInteger, nullable=False),
    Column("action", SmallInteger, nullable=False),
    _time("event_time"),
    _time("record_time"),
    Column("business_step", Text),
    Column("disposition", Text),
    Column("read_point", Text),
    Column("business_location", Text),
    comment="what EPCIS queries ask of an event",
)
Index("event_by_event_time", event.c.event_time, postgresql_using="brin")  # which events of these days?
Index("event_by_record_time", event.c.record_time, postgresql_using="brin")  # which events since I last asked?

event_id = Table(
    "event_id",
    metadata,
    Column("id", LargeBinary, primary_key=True, comment="first 128 bits of the SHA-256 of the eventID"),
    Column("declaration", BigInteger, primary_key=True, autoincrement=False, comment="its declarationTime, else 0"),
    Column("node", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the entry's body, or of its name"),
    comment="where an event id is recorded: idempotency over all nodes",
)

item_entry = Table(
    "item_entry",
    metadata,
    Column("item", Text, primary_key=True),
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("role", SmallInteger, primary_key=True, autoincrement=False),
    Column("action", SmallInteger, nullable=False),
    _time("event_time"),
    comment="which entries speak of a lot, pack, container or certificate, and in which role",
)

log_range = Table(
    "log_range",
    metadata,
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("node", Integer, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    UniqueConstraint("node", "first_seq", name="log_range_of_chain"),  # where in the log is this entry?
    comment="entries first_seq … of a chain lie at start … of the log",
)

tile = Table(
    "tile",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    CheckConstraint("octet_length(hashes) = 8192", name="tile_is_full"),
    comment="full tiles of the log's Merkle tree (C2SP tlog-tiles)",
)

edge = Table(
    "edge",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    comment="the partial tile of each level: the right edge of the tree",
)

log_cursor = Table(
    "log_cursor",
    metadata,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    comment="the last entry of each chain that is in the log",
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    comment="every checkpoint published",
)

node = Table(
    "node",
    metadata,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("trace_scheme", Text, nullable=False, comment="how it numbers slips: A or B"),
    Column("locations", ARRAY(Text), nullable=False, comment="canonical keys of its read points"),
    Column("open", Boolean, nullable=False),
    Column("kind", Text),
    Column("region", Integer, comment="where it lies now, if not in the region of its code"),
    _digest(),
    Column("stock_limit", Text, comment="what becomes of taking more than is left: warn or refuse"),
    CheckConstraint("trace_scheme IN ('A', 'B')", name="node_has_trace_scheme"),
    comment="registered nodes, present state",
)

credential = Table(
    "credential",
    metadata,
    Column("credential", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("role", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("key_hash", Text, nullable=False, comment="SHA-256 of the secret, in hexadecimal"),
    Column("home_node", Integer, nullable=False),
    Column("nodes", ARRAY(Integer), nullable=False),
    _time("expires_at"),
    _time("revoked_at", nullable=True),
    comment="credentials, present state; the secret itself is nowhere",
)

balance = Table(
    "balance",
    metadata,
    Column("item", Text, primary_key=True),
    Column("holder", Text, primary_key=True, comment="a node (9 digits), or an operator's place at it (13)"),
    Column("uom", Text, primary_key=True, comment="unit of measure; empty for a count"),
    Column("goods", Text, nullable=False, comment="what the lot is a lot of, as far as its code says"),
    Column("quantity", Numeric, nullable=False),
    Index("balance_by_holder", "holder", "goods"),  # which lots of this good does this stall have?
    comment="how much of each lot is where",
)

region = Table(
    "region",
    metadata,
    Column("region", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("successor", Integer),
    Column("since", Date),
    Column("until", Date),
    _digest(),
    comment="region codes, old ones with what they became; present state",
)

goods = Table(
    "goods",
    metadata,
    Column("goods", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("english", Text),
    Column("kind", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("tolerance_percent", Numeric),
    Column("shelf_life_h", Integer),
    Column("storage_min_c", Numeric),
    Column("storage_max_c", Numeric),
    _digest(),
    comment="goods, present state",
)

goods_yield = Table(
    "goods_yield",
    metadata,
    Column("source", Text, primary_key=True),
    Column("goods", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("least", Numeric, nullable=False),
    Column("most", Numeric, nullable=False),
    _digest(),
    comment="how much of a good one unit of another gives, present state",
)

product = Table(
    "product",
    metadata,
    Column("product", Text, primary_key=True, comment="a GTIN, or the product part of drug trace codes"),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("english", Text),
    Column("kind", Text, nullable=False),
    Column("goods", Text),
    Column("gtin", Text),
    Column("national_code", Text),
    Column("approval", Text),
    Column("dosage_form", Text),
    Column("specification", Text),
    Column("holder", Text),
    Column("units_per_pack", Integer),
    Column("unit", Text),
    Column("storage_min_c", Numeric),
    Column("storage_max_c", Numeric),
    _digest(),
    comment="products, present state",
)

party = Table(
    "party",
    metadata,
    Column("party", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("nodes", ARRAY(Integer), nullable=False),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    Column("erased", Boolean, nullable=False, comment="its private values of all earlier versions are erased"),
    _digest(),
    Index("party_by_node", "nodes", postgresql_using="gin"),  # which parties act at this node?
    comment="registered parties without who they are, present state",
)

licence = Table(
    "licence",
    metadata,
    Column("party", Text, primary_key=True),
    Column("licence", Text, primary_key=True, comment="a keyed code of its number"),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("valid_from", Date, nullable=False),
    Column("valid_to", Date),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    _digest(),
    Index("licence_by_end", "valid_to"),  # which licences expire soon?
    comment="licences of parties, present state",
)

code_series = Table(
    "code_series",
    metadata,
    Column("series", Text, primary_key=True, comment="what is numbered: scheme, party or node, day"),
    Column("version", Integer, nullable=False),
    Column("next", Integer, nullable=False, comment="the first number that nobody has"),
    Column("first", Integer, nullable=False, comment="of the last range that was given away"),
    Column("holder", Text, nullable=False, comment="the credential that got it"),
    comment="how far each series of codes is given away, present state",
)

pack = Table(
    "pack",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="how many entries have moved it"),
    Column("state", SmallInteger, nullable=False),
    _time("since"),
    Column("node", Integer, nullable=False, comment="where that was brought about"),
    Column("by", Text, nullable=False, comment="the credential that did"),
    Column("done", Text, nullable=False, comment="what was done"),
    Column("held", Boolean, nullable=False, comment="it is at that node; else under way, or gone"),
    Column("batch", Text),
    Column("expires", Date),
    Column("units", Integer, nullable=False, comment="how many units were taken out of it"),
    Column("made", Boolean, nullable=False, comment="its maker said batch and expiry"),
    Column("product", Text, nullable=False),
    Index("pack_by_batch", "product", "batch"),  # who holds what of this batch? is anything of it recorded?
    comment="how each pack of a drug stands",
)

recall = Table(
    "recall",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("product", Text, nullable=False),
    Column("batches", ARRAY(Text), comment="empty: the whole product is withdrawn"),
    Column("grade", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("nature", Text, nullable=False),
    Column("range", Text, nullable=False),
    Column("regime", Text, nullable=False),
    Column("party", Text),
    Column("decided_at", Text, nullable=False, comment="ISO 8601, UTC; as the next ones"),
    Column("notified_at", Text),
    Column("planned_at", Text),
    Column("progress_at", Text),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    _digest(),
    Index("recall_by_product", "product"),  # is this pack recalled?
    comment="recalls and withdrawals of drugs, present state",
)

drug_market = Table(
    "drug_market",
    metadata,
    Column("market", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("rules", Text, nullable=False),
    Column("soft", Integer),
    Column("replay_s", Integer),
    Column("gln", Text),
    _digest(),
    comment="whose rules for packs hold here, present state",
)

receiving_difference = Table(
    "receiving_difference",
    metadata,
    Column("number", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("shipment", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("codes", ARRAY(Text)),
    Column("request", Text, nullable=False),
    Column("response", Text),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    _digest(),
    comment="how what came differed from what was sent, present state",
)

registry_version = Table(
    "registry_version",
    metadata,
    Column("subject", Text, primary_key=True, comment="table and key of a registry row"),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("node", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    _time("record_time"),
    Column("private", LargeBinary, comment="encrypted; empty where there is nothing, or it was erased"),
    comment="which entry made which version of a registry row, with the private values that it has the digest of",
)

registry_search = Table(
    "registry_search",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("tokens", ARRAY(Integer), nullable=False),
    Index("registry_search_by_token", "tokens", postgresql_using="gin"),  # whose values hold this?
    comment="the blind index: keyed hashes of what a registry row is found by",
)

pack_job = Table(
    "pack_job",
    metadata,
    Column("job", Uuid, primary_key=True),
    Column("credential", Text, nullable=False),
    _time("created_at"),
    _time("finished_at", nullable=True),
    Column("node", Integer, nullable=False),
    Column("order", JSONB, nullable=False, comment="what is asked for each"),
    Column("codes", LargeBinary, nullable=False, comment="as they came, a JSON list, compressed"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("error", Text, comment="why it ended before all was done"),
    Index("pack_job_by_credential", "credential", "created_at"),  # which jobs did I give?
    comment="commands for many packs, done in parts",
)

capture_job = Table(
    "capture_job",
    metadata,
    Column("job", Uuid, primary_key=True),
    Column("credential", Text, nullable=False),
    _time("created_at"),
    _time("finished_at"),
    Column("success", Boolean, nullable=False),
    Column("error_behaviour", Text, nullable=False),
    Column("errors", JSONB, nullable=False),
    Column("receipt", Text, nullable=False, comment="the signed receipt, empty where nothing was recorded"),
    Index("capture_job_by_credential", "credential", "created_at"),  # which captures did I make?
    comment="how captures ended (EPCIS 2.0, CaptureJob)",
)

APPEND_ONLY = (entry, event, event_id, item_entry, log_range, tile, checkpoint)
"""Inserted by the application, never changed by it; `entry` alone can lose its sealed part, by another role."""
POSITIONS = (head, edge, log_cursor, balance, pack)
REGISTRY = (
    node, credential, region, goods, goods_yield, product, party, licence, code_series, recall, drug_market,
    receiving_difference,
)  # fmt: skip
"""Rows with a version, changed only together with an entry that holds their new state."""
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
