"""Market access, rules, warnings, subscriptions; recalls of food."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
ALTER TABLE recall ALTER COLUMN product DROP NOT NULL;
ALTER TABLE recall ADD COLUMN lots TEXT[];
COMMENT ON COLUMN recall.lots IS 'of food, with all that was made of them';
COMMENT ON TABLE recall IS 'recalls and withdrawals, present state';
CREATE INDEX recall_by_lot ON recall USING gin (lots);
CREATE TABLE certificate (
    certificate TEXT NOT NULL,
    version INTEGER NOT NULL,
    issuer TEXT,
    issued DATE NOT NULL,
    expires DATE,
    quantity NUMERIC,
    unit TEXT,
    goods TEXT,
    node INTEGER,
    used NUMERIC,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (certificate)
);
COMMENT ON TABLE certificate IS 'papers that goods come in under, present state';
COMMENT ON COLUMN certificate.certificate IS 'its kind, a colon, its number';
COMMENT ON COLUMN certificate.node IS 'where it was used first';
COMMENT ON COLUMN certificate.used IS 'how much came in under it';
COMMENT ON COLUMN certificate.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE hold (
    hold TEXT NOT NULL,
    version INTEGER NOT NULL,
    scope TEXT NOT NULL,
    target TEXT NOT NULL,
    until TEXT,
    warning TEXT,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (hold)
);
CREATE INDEX hold_by_target ON hold (target);
COMMENT ON TABLE hold IS 'stop-sale orders, present state';
COMMENT ON COLUMN hold.hold IS 'the node that it concerns, and a name';
COMMENT ON COLUMN hold.until IS 'ISO 8601, UTC';
COMMENT ON COLUMN hold.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE silence (
    silence TEXT NOT NULL,
    version INTEGER NOT NULL,
    rule TEXT,
    subject TEXT,
    until TEXT NOT NULL,
    cause TEXT NOT NULL,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (silence)
);
COMMENT ON TABLE silence IS 'whose warnings nobody needs to hear of, present state';
COMMENT ON COLUMN silence.silence IS 'the node that it concerns, and a name';
COMMENT ON COLUMN silence.until IS 'ISO 8601, UTC';
COMMENT ON COLUMN silence.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE handling (
    warning TEXT NOT NULL,
    version INTEGER NOT NULL,
    assignee TEXT,
    due TEXT,
    measures TEXT,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (warning)
);
COMMENT ON TABLE handling IS 'how warnings are handled, present state';
COMMENT ON COLUMN handling.due IS 'ISO 8601, UTC';
COMMENT ON COLUMN handling.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE rule_set (
    rule_set TEXT NOT NULL,
    version INTEGER NOT NULL,
    rules TEXT NOT NULL,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (rule_set)
);
COMMENT ON TABLE rule_set IS 'rule sets, present state';
COMMENT ON COLUMN rule_set.rules IS 'the rule file, as it was given';
COMMENT ON COLUMN rule_set.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE subscription (
    subscription TEXT NOT NULL,
    version INTEGER NOT NULL,
    channel TEXT NOT NULL,
    levels TEXT[],
    rules TEXT[],
    goods TEXT[],
    nodes TEXT[],
    regions TEXT[],
    subjects TEXT[],
    kinds TEXT[],
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (subscription)
);
COMMENT ON TABLE subscription IS 'who is told of what, without where, present state';
COMMENT ON COLUMN subscription.subscription IS 'the node that it concerns, and a name';
COMMENT ON COLUMN subscription.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE recall_answer (
    answer TEXT NOT NULL,
    version INTEGER NOT NULL,
    acknowledged_at TEXT NOT NULL,
    unit TEXT,
    found NUMERIC,
    sold NUMERIC,
    returned NUMERIC,
    destroyed NUMERIC,
    digest TEXT,
    PRIMARY KEY (answer)
);
COMMENT ON TABLE recall_answer IS 'what nodes found of what is recalled, present state';
COMMENT ON COLUMN recall_answer.answer IS 'the node that answers, and the recall';
COMMENT ON COLUMN recall_answer.acknowledged_at IS 'ISO 8601, UTC';
COMMENT ON COLUMN recall_answer.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE follower (
    name TEXT NOT NULL,
    position BIGINT NOT NULL,
    state JSONB NOT NULL,
    PRIMARY KEY (name)
);
COMMENT ON TABLE follower IS 'how far each follower of the log is';
COMMENT ON COLUMN follower.position IS 'how many entries of the log it has followed';
COMMENT ON COLUMN follower.state IS 'its clocks, and the last notice that it gave';
CREATE TABLE rule_book (
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    value JSONB NOT NULL,
    PRIMARY KEY (topic, key)
);
COMMENT ON TABLE rule_book IS 'what rules know of things at the follower''s place in the log';
CREATE TABLE rule_window (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    position BIGINT NOT NULL,
    part INTEGER NOT NULL,
    event BYTEA,
    value JSONB NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (rule, key, position, part)
);
CREATE INDEX rule_window_by_end ON rule_window USING brin (until);
CREATE INDEX rule_window_by_event ON rule_window (event);
COMMENT ON TABLE rule_window IS 'what rules saw that may still count';
COMMENT ON COLUMN rule_window.rule IS 'the rule''s id and version';
COMMENT ON COLUMN rule_window.event IS 'the id of the event that it came from: declared in error, it goes';
CREATE TABLE rule_pending (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    position BIGINT NOT NULL,
    part INTEGER NOT NULL,
    event BYTEA,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_event TIMESTAMP WITH TIME ZONE,
    due_record TIMESTAMP WITH TIME ZONE NOT NULL,
    value JSONB NOT NULL,
    PRIMARY KEY (rule, key, position, part)
);
CREATE INDEX rule_pending_by_event ON rule_pending (event);
CREATE INDEX rule_pending_by_event_time ON rule_pending (due_event);
CREATE INDEX rule_pending_by_record_time ON rule_pending (due_record);
COMMENT ON TABLE rule_pending IS 'what rules wait for';
COMMENT ON COLUMN rule_pending.rule IS 'the rule''s id and version';
CREATE TABLE rule_count (
    rule TEXT NOT NULL,
    evaluated BIGINT NOT NULL,
    matched BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    raised BIGINT NOT NULL,
    PRIMARY KEY (rule)
);
COMMENT ON TABLE rule_count IS 'how often each rule looked, and what came of it';
COMMENT ON COLUMN rule_count.rule IS 'the rule''s id and version';
COMMENT ON COLUMN rule_count.missing IS 'not evaluated: what it asks for was not there';
CREATE TABLE warning (
    warning TEXT NOT NULL,
    revision INTEGER NOT NULL,
    rule TEXT NOT NULL,
    rule_version TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    level SMALLINT NOT NULL,
    node INTEGER NOT NULL,
    region INTEGER NOT NULL,
    goods TEXT,
    subject TEXT NOT NULL,
    raised_at TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    position BIGINT NOT NULL,
    status TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    hidden TEXT,
    count INTEGER NOT NULL,
    body JSONB NOT NULL,
    words TEXT[] NOT NULL,
    PRIMARY KEY (warning)
);
CREATE INDEX warning_by_due ON warning (due_at);
CREATE INDEX warning_by_fingerprint ON warning (fingerprint);
CREATE INDEX warning_by_subject ON warning (subject);
CREATE INDEX warning_by_time ON warning (raised_at);
CREATE INDEX warning_by_words ON warning USING gin (words);
COMMENT ON TABLE warning IS 'warnings, as the follower of the log has raised them';
COMMENT ON COLUMN warning.warning IS 'the node that it concerns, and a hash';
COMMENT ON COLUMN warning.level IS '1 red, 2 orange, 3 yellow, 4 blue';
COMMENT ON COLUMN warning.position IS 'where in the log its cause lies';
COMMENT ON COLUMN warning.hidden IS 'why nobody is told: the silence, or the warning above it';
COMMENT ON COLUMN warning.count IS 'how often it was found again';
COMMENT ON COLUMN warning.words IS 'what it is found by: words, and pairs of characters';
CREATE TABLE notice (
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    type TEXT NOT NULL,
    warning TEXT,
    revision INTEGER NOT NULL,
    level SMALLINT,
    rule TEXT,
    node INTEGER NOT NULL,
    region INTEGER NOT NULL,
    goods TEXT,
    subject TEXT NOT NULL,
    body JSONB NOT NULL,
    PRIMARY KEY (number)
);
COMMENT ON TABLE notice IS 'what subscribers are told, in one sequence';
COMMENT ON COLUMN notice.warning IS 'the warning, or what else it is about';
CREATE TABLE delivery (
    subscription TEXT NOT NULL,
    number BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    error TEXT,
    latency_ms INTEGER,
    last_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (subscription, number)
);
CREATE INDEX delivery_by_time ON delivery (subscription, next_at);
COMMENT ON TABLE delivery IS 'what was sent to whom, and how it went';
COMMENT ON COLUMN delivery.number IS 'the notice';
COMMENT ON COLUMN delivery.outcome IS 'waiting, delivered, failed or given_up';
COMMENT ON COLUMN delivery.status IS 'the last answer''s status code';
COMMENT ON COLUMN delivery.error IS 'what went wrong last; never the answer''s body';
CREATE TABLE outlet (
    subscription TEXT NOT NULL,
    position BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    failing_since TIMESTAMP WITH TIME ZONE,
    next_at TIMESTAMP WITH TIME ZONE,
    disabled TEXT,
    leased_until TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (subscription)
);
COMMENT ON TABLE outlet IS 'how far each subscription is served';
COMMENT ON COLUMN outlet.position IS 'the last notice that was looked at';
COMMENT ON COLUMN outlet.failures IS 'attempts that failed since the last that did not';
COMMENT ON COLUMN outlet.disabled IS 'why nothing is sent any more';
CREATE TABLE report_job (
    job UUID NOT NULL,
    credential TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    report TEXT NOT NULL,
    parameters JSONB NOT NULL,
    format TEXT NOT NULL,
    language TEXT NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    size BIGINT,
    result BYTEA,
    error TEXT,
    PRIMARY KEY (job)
);
CREATE INDEX report_job_by_credential ON report_job (credential, created_at);
COMMENT ON TABLE report_job IS 'reports that take long, and what they became';
COMMENT ON COLUMN report_job.size IS 'of the result, in bytes, before it was compressed';
COMMENT ON COLUMN report_job.result IS 'compressed; emptied some days later';
COMMENT ON COLUMN report_job.error IS 'why there is none';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
