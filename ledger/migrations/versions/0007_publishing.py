"""Reports that are published by themselves."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE report_schedule (
    schedule TEXT NOT NULL,
    version INTEGER NOT NULL,
    report TEXT NOT NULL,
    format TEXT NOT NULL,
    language TEXT,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (schedule)
);
COMMENT ON TABLE report_schedule IS 'which report is published how often, present state';
COMMENT ON COLUMN report_schedule.schedule IS 'the node that it is of, and a name';
COMMENT ON COLUMN report_schedule.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE published_report (
    published TEXT NOT NULL,
    version INTEGER NOT NULL,
    report TEXT NOT NULL,
    period TEXT NOT NULL,
    format TEXT NOT NULL,
    language TEXT NOT NULL,
    as_of TEXT NOT NULL,
    size BIGINT NOT NULL,
    hash TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    digest TEXT,
    PRIMARY KEY (published)
);
COMMENT ON TABLE published_report IS 'reports that were published, present state';
COMMENT ON COLUMN published_report.published IS 'the schedule, and the period';
COMMENT ON COLUMN published_report.as_of IS 'ISO 8601, UTC';
COMMENT ON COLUMN published_report.size IS 'of the checkpoint that it rests on';
COMMENT ON COLUMN published_report.hash IS 'SHA-256 of what it says';
COMMENT ON COLUMN published_report.sha256 IS 'of the file';
COMMENT ON COLUMN published_report.digest IS 'SHA-256 of the salted private values of this version';
ALTER TABLE report_job ADD COLUMN publication JSONB;
COMMENT ON COLUMN report_job.publication IS 'of a report that a schedule asked for: what its record says of it';
COMMENT ON COLUMN report_job.result IS 'compressed; emptied some days later, unless it is published';
COMMENT ON TABLE report_job IS 'reports that take long or are published, and what they became';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
