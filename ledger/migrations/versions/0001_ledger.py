"""The ledger: chains, index, log, registry."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE capture_job (
    job UUID NOT NULL,
    credential TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE NOT NULL,
    success BOOLEAN NOT NULL,
    error_behaviour TEXT NOT NULL,
    errors JSONB NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (job)
);
CREATE INDEX capture_job_by_credential ON capture_job (credential, created_at);
COMMENT ON TABLE capture_job IS 'how captures ended (EPCIS 2.0, CaptureJob)';
COMMENT ON COLUMN capture_job.receipt IS 'the signed receipt, empty where nothing was recorded';
CREATE TABLE checkpoint (
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (size)
);
COMMENT ON TABLE checkpoint IS 'every checkpoint published';
CREATE TABLE credential (
    credential TEXT NOT NULL,
    version INTEGER NOT NULL,
    role TEXT NOT NULL,
    label TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    home_node INTEGER NOT NULL,
    nodes INTEGER[] NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (credential)
);
COMMENT ON TABLE credential IS 'credentials, present state; the secret itself is nowhere';
COMMENT ON COLUMN credential.key_hash IS 'SHA-256 of the secret, in hexadecimal';
CREATE TABLE edge (
    level SMALLINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level)
);
COMMENT ON TABLE edge IS 'the partial tile of each level: the right edge of the tree';
CREATE TABLE entry (
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    record_time TIMESTAMP WITH TIME ZONE NOT NULL,
    hash BYTEA NOT NULL,
    data BYTEA NOT NULL,
    salt BYTEA,
    sealed BYTEA,
    PRIMARY KEY (node, seq),
    CONSTRAINT entry_has_place_and_hash CHECK (seq > 0 AND octet_length(hash) = 32),
    CONSTRAINT entry_is_sealed_with_salt CHECK ((salt IS NULL) = (sealed IS NULL))
);
COMMENT ON TABLE entry IS 'the truth: one row an entry';
COMMENT ON COLUMN entry.data IS 'the entry''s bytes: what is hashed';
COMMENT ON COLUMN entry.salt IS 'with sealed, the only columns that may ever be emptied';
CREATE TABLE event (
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    type SMALLINT NOT NULL,
    action SMALLINT NOT NULL,
    event_time TIMESTAMP WITH TIME ZONE NOT NULL,
    record_time TIMESTAMP WITH TIME ZONE NOT NULL,
    business_step TEXT,
    disposition TEXT,
    read_point TEXT,
    business_location TEXT,
    PRIMARY KEY (node, seq)
);
CREATE INDEX event_by_event_time ON event USING brin (event_time);
CREATE INDEX event_by_record_time ON event USING brin (record_time);
COMMENT ON TABLE event IS 'what EPCIS queries ask of an event';
CREATE TABLE event_id (
    id BYTEA NOT NULL,
    declaration BIGINT NOT NULL,
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (id, declaration)
);
COMMENT ON TABLE event_id IS 'where an event id is recorded: idempotency over all nodes';
COMMENT ON COLUMN event_id.id IS 'first 128 bits of the SHA-256 of the eventID';
COMMENT ON COLUMN event_id.declaration IS 'its declarationTime, else 0';
COMMENT ON COLUMN event_id.digest IS 'SHA-256 of the entry''s body, or of its name';
CREATE TABLE head (
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (node),
    CONSTRAINT head_hash_is_sha256 CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE head IS 'the last sequence and hash of each chain';
CREATE TABLE item_entry (
    item TEXT NOT NULL,
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    role SMALLINT NOT NULL,
    action SMALLINT NOT NULL,
    event_time TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (item, node, seq, role)
);
COMMENT ON TABLE item_entry IS 'which entries speak of a lot, pack, container or certificate, and in which role';
CREATE TABLE log_cursor (
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (node)
);
COMMENT ON TABLE log_cursor IS 'the last entry of each chain that is in the log';
CREATE TABLE log_range (
    start BIGINT NOT NULL,
    node INTEGER NOT NULL,
    first_seq BIGINT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (start),
    CONSTRAINT log_range_of_chain UNIQUE (node, first_seq)
);
COMMENT ON TABLE log_range IS 'entries first_seq … of a chain lie at start … of the log';
CREATE TABLE node (
    node INTEGER NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    trace_scheme TEXT NOT NULL,
    locations TEXT[] NOT NULL,
    open BOOLEAN NOT NULL,
    PRIMARY KEY (node),
    CONSTRAINT node_has_trace_scheme CHECK (trace_scheme IN ('A', 'B'))
);
COMMENT ON TABLE node IS 'registered nodes, present state';
COMMENT ON COLUMN node.trace_scheme IS 'how it numbers slips: A or B';
COMMENT ON COLUMN node.locations IS 'canonical keys of its read points';
CREATE TABLE tile (
    level SMALLINT NOT NULL,
    n BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, n),
    CONSTRAINT tile_is_full CHECK (octet_length(hashes) = 8192)
);
COMMENT ON TABLE tile IS 'full tiles of the log''s Merkle tree (C2SP tlog-tiles)';
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER entry_is_append_only BEFORE DELETE OR TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_id_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_id FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER item_entry_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON item_entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_range_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_range FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER tile_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tile FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoint_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_is_erased_only BEFORE UPDATE ON entry FOR EACH ROW
WHEN (NEW.salt IS NOT NULL OR NEW.sealed IS NOT NULL
      OR (NEW.node, NEW.seq, NEW.kind, NEW.record_time, NEW.hash, NEW.data)
         IS DISTINCT FROM (OLD.node, OLD.seq, OLD.kind, OLD.record_time, OLD.hash, OLD.data))
EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES)
    op.get_bind().exec_driver_sql(APPEND_ONLY.replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
