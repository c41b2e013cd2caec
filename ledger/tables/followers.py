"""What followers of the log keep, and how notices are delivered."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ledger.tables.columns import metadata, time_column

follower = Table(
    "follower",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False, comment="how many entries of the log it has followed"),
    Column("state", JSONB, nullable=False, comment="its clocks, and the last notice that it gave"),
    comment="how far each follower of the log is",
)

rule_book = Table(
    "rule_book",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    comment="what rules know of things at the follower's place in the log",
)

rule_window = Table(
    "rule_window",
    metadata,
    Column("rule", Text, primary_key=True, comment="the rule's id and version"),
    Column("key", Text, primary_key=True),
    time_column("at"),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("event", LargeBinary, comment="the id of the event that it came from: declared in error, it goes"),
    Column("value", JSONB, nullable=False),
    time_column("until"),
    Index("rule_window_by_event", "event"),  # what came from this event?
    Index("rule_window_by_end", "until", postgresql_using="brin"),  # what is over?
    comment="what rules saw that may still count",
)

rule_pending = Table(
    "rule_pending",
    metadata,
    Column("rule", Text, primary_key=True, comment="the rule's id and version"),
    Column("key", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("event", LargeBinary),
    time_column("at"),
    time_column("due_event", nullable=True),
    time_column("due_record"),
    Column("value", JSONB, nullable=False),
    Index("rule_pending_by_event_time", "due_event"),  # what is due, by the times of events?
    Index("rule_pending_by_record_time", "due_record"),  # what is due, by the ticks?
    Index("rule_pending_by_event", "event"),  # what waits because of this event?
    comment="what rules wait for",
)

rule_count = Table(
    "rule_count",
    metadata,
    Column("rule", Text, primary_key=True, comment="the rule's id and version"),
    Column("evaluated", BigInteger, nullable=False),
    Column("matched", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False, comment="not evaluated: what it asks for was not there"),
    Column("raised", BigInteger, nullable=False),
    comment="how often each rule looked, and what came of it",
)

warning = Table(
    "warning",
    metadata,
    Column("warning", Text, primary_key=True, comment="the node that it concerns, and a hash"),
    Column("revision", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("level", SmallInteger, nullable=False, comment="1 red, 2 orange, 3 yellow, 4 blue"),
    Column("node", Integer, nullable=False),
    Column("region", Integer, nullable=False),
    Column("goods", Text),
    Column("subject", Text, nullable=False),
    time_column("raised_at"),
    time_column("changed_at"),
    Column("position", BigInteger, nullable=False, comment="where in the log its cause lies"),
    Column("status", Text, nullable=False),
    time_column("due_at", nullable=True),
    Column("hidden", Text, comment="why nobody is told: the silence, or the warning above it"),
    Column("count", Integer, nullable=False, comment="how often it was found again"),
    Column("body", JSONB, nullable=False),
    Column("words", ARRAY(Text), nullable=False, comment="what it is found by: words, and pairs of characters"),
    Index("warning_by_fingerprint", "fingerprint"),  # is this told already?
    Index("warning_by_time", "raised_at"),  # which are new?
    Index("warning_by_subject", "subject"),  # what else is said of it?
    Index("warning_by_due", "due_at"),  # which are overdue?
    Index("warning_by_words", "words", postgresql_using="gin"),  # which speak of this?
    Index("warning_by_node", "node", "raised_at"),  # which are this market's?
    Index(  # how many stand, by level? which of a level?
        "warning_open", "level", "raised_at", "node", postgresql_where=text("status <> 'closed' AND hidden IS NULL")
    ),
    comment="warnings, as the follower of the log has raised them",
)

notice = Table(
    "notice",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    time_column("at"),
    Column("type", Text, nullable=False),
    Column("warning", Text, comment="the warning, or what else it is about"),
    Column("revision", Integer, nullable=False),
    Column("level", SmallInteger),
    Column("rule", Text),
    Column("node", Integer, nullable=False),
    Column("region", Integer, nullable=False),
    Column("goods", Text),
    Column("subject", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    comment="what subscribers are told, in one sequence",
)

delivery = Table(
    "delivery",
    metadata,
    Column("subscription", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="the notice"),
    Column("attempts", Integer, nullable=False),
    time_column("next_at", nullable=True),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False, comment="waiting, delivered, failed or given_up"),
    Column("status", Integer, comment="the last answer's status code"),
    Column("error", Text, comment="what went wrong last; never the answer's body"),
    Column("latency_ms", Integer),
    time_column("last_at", nullable=True),
    Index("delivery_by_time", "subscription", "next_at"),  # what is to be tried again?
    comment="what was sent to whom, and how it went",
)

outlet = Table(
    "outlet",
    metadata,
    Column("subscription", Text, primary_key=True),
    Column("position", BigInteger, nullable=False, comment="the last notice that was looked at"),
    Column("failures", Integer, nullable=False, comment="attempts that failed since the last that did not"),
    time_column("failing_since", nullable=True),
    time_column("next_at", nullable=True),
    Column("disabled", Text, comment="why nothing is sent any more"),
    time_column("leased_until", nullable=True),
    comment="how far each subscription is served",
)
