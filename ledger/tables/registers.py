"""The registry: present state, versions with private values, and the blind index."""

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
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.tables.columns import digest_column, metadata, time_column

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
    digest_column(),
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
    time_column("expires_at"),
    time_column("revoked_at", nullable=True),
    comment="credentials, present state; the secret itself is nowhere",
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
    digest_column(),
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
    digest_column(),
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
    digest_column(),
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
    digest_column(),
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
    digest_column(),
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
    digest_column(),
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

recall = Table(
    "recall",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("product", Text),
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
    digest_column(),
    Column("lots", ARRAY(Text), comment="of food, with all that was made of them"),
    Index("recall_by_product", "product"),  # is this pack recalled?
    Index("recall_by_lot", "lots", postgresql_using="gin"),  # is this lot recalled?
    comment="recalls and withdrawals, present state",
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
    digest_column(),
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
    digest_column(),
    comment="how what came differed from what was sent, present state",
)

certificate = Table(
    "certificate",
    metadata,
    Column("certificate", Text, primary_key=True, comment="its kind, a colon, its number"),
    Column("version", Integer, nullable=False),
    Column("issuer", Text),
    Column("issued", Date, nullable=False),
    Column("expires", Date),
    Column("quantity", Numeric),
    Column("unit", Text),
    Column("goods", Text),
    Column("node", Integer, comment="where it was used first"),
    Column("used", Numeric, comment="how much came in under it"),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="papers that goods come in under, present state",
)

hold = Table(
    "hold",
    metadata,
    Column("hold", Text, primary_key=True, comment="the node that it concerns, and a name"),
    Column("version", Integer, nullable=False),
    Column("scope", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("until", Text, comment="ISO 8601, UTC"),
    Column("warning", Text),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    Index("hold_by_target", "target"),  # is this held?
    comment="stop-sale orders, present state",
)

silence = Table(
    "silence",
    metadata,
    Column("silence", Text, primary_key=True, comment="the node that it concerns, and a name"),
    Column("version", Integer, nullable=False),
    Column("rule", Text),
    Column("subject", Text),
    Column("until", Text, nullable=False, comment="ISO 8601, UTC"),
    Column("cause", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="whose warnings nobody needs to hear of, present state",
)

handling = Table(
    "handling",
    metadata,
    Column("warning", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("assignee", Text),
    Column("due", Text, comment="ISO 8601, UTC"),
    Column("measures", Text),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="how warnings are handled, present state",
)

rule_set = Table(
    "rule_set",
    metadata,
    Column("rule_set", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("rules", Text, nullable=False, comment="the rule file, as it was given"),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="rule sets, present state",
)

subscription = Table(
    "subscription",
    metadata,
    Column("subscription", Text, primary_key=True, comment="the node that it concerns, and a name"),
    Column("version", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("levels", ARRAY(Text)),
    Column("rules", ARRAY(Text)),
    Column("goods", ARRAY(Text)),
    Column("nodes", ARRAY(Text)),
    Column("regions", ARRAY(Text)),
    Column("subjects", ARRAY(Text)),
    Column("kinds", ARRAY(Text)),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="who is told of what, without where, present state",
)

recall_answer = Table(
    "recall_answer",
    metadata,
    Column("answer", Text, primary_key=True, comment="the node that answers, and the recall"),
    Column("version", Integer, nullable=False),
    Column("acknowledged_at", Text, nullable=False, comment="ISO 8601, UTC"),
    Column("unit", Text),
    Column("found", Numeric),
    Column("sold", Numeric),
    Column("returned", Numeric),
    Column("destroyed", Numeric),
    digest_column(),
    comment="what nodes found of what is recalled, present state",
)

report_schedule = Table(
    "report_schedule",
    metadata,
    Column("schedule", Text, primary_key=True, comment="the node that it is of, and a name"),
    Column("version", Integer, nullable=False),
    Column("report", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("language", Text),
    Column("status", Text, nullable=False),
    Column("status_since", Date, nullable=False),
    digest_column(),
    comment="which report is published how often, present state",
)

published_report = Table(
    "published_report",
    metadata,
    Column("published", Text, primary_key=True, comment="the schedule, and the period"),
    Column("version", Integer, nullable=False),
    Column("report", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("as_of", Text, nullable=False, comment="ISO 8601, UTC"),
    Column("size", BigInteger, nullable=False, comment="of the checkpoint that it rests on"),
    Column("hash", Text, nullable=False, comment="SHA-256 of what it says"),
    Column("sha256", Text, nullable=False, comment="of the file"),
    Column("bytes", BigInteger, nullable=False),
    digest_column(),
    comment="reports that were published, present state",
)

registry_version = Table(
    "registry_version",
    metadata,
    Column("subject", Text, primary_key=True, comment="table and key of a registry row"),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("node", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    time_column("record_time"),
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
