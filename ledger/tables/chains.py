"""Chains, the log, what is looked up and counted, and jobs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from ledger.tables.columns import metadata, time_column

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
    time_column("record_time"),
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
    time_column("event_time"),
    time_column("record_time"),
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
    time_column("event_time"),
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

pack = Table(
    "pack",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, nullable=False, comment="how many entries have moved it"),
    Column("state", SmallInteger, nullable=False),
    time_column("since"),
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

pack_job = Table(
    "pack_job",
    metadata,
    Column("job", Uuid, primary_key=True),
    Column("credential", Text, nullable=False),
    time_column("created_at"),
    time_column("finished_at", nullable=True),
    Column("node", Integer, nullable=False),
    Column("order", JSONB, nullable=False, comment="what is asked for each"),
    Column("codes", LargeBinary, nullable=False, comment="as they came, a JSON list, compressed"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("error", Text, comment="why it ended before all was done"),
    Index("pack_job_by_credential", "credential", "created_at"),  # which jobs did I give?
    comment="commands for many packs, done in parts",
)

report_job = Table(
    "report_job",
    metadata,
    Column("job", Uuid, primary_key=True),
    Column("credential", Text, nullable=False),
    time_column("created_at"),
    time_column("finished_at", nullable=True),
    Column("report", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("format", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("size", BigInteger, comment="of the result, in bytes, before it was compressed"),
    Column("result", LargeBinary, comment="compressed; emptied some days later, unless it is published"),
    Column("error", Text, comment="why there is none"),
    Column("publication", JSONB, comment="of a report that a schedule asked for: what its record says of it"),
    Index("report_job_by_credential", "credential", "created_at"),  # which reports did I ask for?
    comment="reports that take long or are published, and what they became",
)

capture_job = Table(
    "capture_job",
    metadata,
    Column("job", Uuid, primary_key=True),
    Column("credential", Text, nullable=False),
    time_column("created_at"),
    time_column("finished_at"),
    Column("success", Boolean, nullable=False),
    Column("error_behaviour", Text, nullable=False),
    Column("errors", JSONB, nullable=False),
    Column("receipt", Text, nullable=False, comment="the signed receipt, empty where nothing was recorded"),
    Index("capture_job_by_credential", "credential", "created_at"),  # which captures did I make?
    comment="how captures ended (EPCIS 2.0, CaptureJob)",
)
