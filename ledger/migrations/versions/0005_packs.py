"""Packs, recalls, whose rules hold for them, and commands for many packs."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE pack (
    code TEXT NOT NULL,
    version INTEGER NOT NULL,
    state SMALLINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    node INTEGER NOT NULL,
    by TEXT NOT NULL,
    done TEXT NOT NULL,
    held BOOLEAN NOT NULL,
    batch TEXT,
    expires DATE,
    units INTEGER NOT NULL,
    made BOOLEAN NOT NULL,
    product TEXT NOT NULL,
    PRIMARY KEY (code)
);
CREATE INDEX pack_by_batch ON pack (product, batch);
COMMENT ON TABLE pack IS 'how each pack of a drug stands';
COMMENT ON COLUMN pack.version IS 'how many entries have moved it';
COMMENT ON COLUMN pack.node IS 'where that was brought about';
COMMENT ON COLUMN pack.by IS 'the credential that did';
COMMENT ON COLUMN pack.done IS 'what was done';
COMMENT ON COLUMN pack.held IS 'it is at that node; else under way, or gone';
COMMENT ON COLUMN pack.units IS 'how many units were taken out of it';
COMMENT ON COLUMN pack.made IS 'its maker said batch and expiry';
CREATE TABLE recall (
    recall TEXT NOT NULL,
    version INTEGER NOT NULL,
    product TEXT NOT NULL,
    batches TEXT[],
    grade TEXT NOT NULL,
    origin TEXT NOT NULL,
    nature TEXT NOT NULL,
    range TEXT NOT NULL,
    regime TEXT NOT NULL,
    party TEXT,
    decided_at TEXT NOT NULL,
    notified_at TEXT,
    planned_at TEXT,
    progress_at TEXT,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (recall)
);
CREATE INDEX recall_by_product ON recall (product);
COMMENT ON TABLE recall IS 'recalls and withdrawals of drugs, present state';
COMMENT ON COLUMN recall.batches IS 'empty: the whole product is withdrawn';
COMMENT ON COLUMN recall.decided_at IS 'ISO 8601, UTC; as the next ones';
COMMENT ON COLUMN recall.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE drug_market (
    market TEXT NOT NULL,
    version INTEGER NOT NULL,
    rules TEXT NOT NULL,
    soft INTEGER,
    replay_s INTEGER,
    gln TEXT,
    digest TEXT,
    PRIMARY KEY (market)
);
COMMENT ON TABLE drug_market IS 'whose rules for packs hold here, present state';
COMMENT ON COLUMN drug_market.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE receiving_difference (
    number TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    shipment TEXT NOT NULL,
    product TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    codes TEXT[],
    request TEXT NOT NULL,
    response TEXT,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (number)
);
COMMENT ON TABLE receiving_difference IS 'how what came differed from what was sent, present state';
COMMENT ON COLUMN receiving_difference.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE pack_job (
    job UUID NOT NULL,
    credential TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    node INTEGER NOT NULL,
    "order" JSONB NOT NULL,
    codes BYTEA NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (job)
);
CREATE INDEX pack_job_by_credential ON pack_job (credential, created_at);
COMMENT ON TABLE pack_job IS 'commands for many packs, done in parts';
COMMENT ON COLUMN pack_job."order" IS 'what is asked for each';
COMMENT ON COLUMN pack_job.error IS 'why it ended before all was done';
COMMENT ON COLUMN pack_job.codes IS 'as they came, a JSON list, compressed';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
