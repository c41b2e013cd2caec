"""The registry: regions, goods, products, parties, licences; versions with private values; the blind index."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE node ADD COLUMN kind TEXT, ADD COLUMN region INTEGER, ADD COLUMN digest TEXT;
COMMENT ON COLUMN node.region IS 'where it lies now, if not in the region of its code';
COMMENT ON COLUMN node.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE region (
    region INTEGER NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    successor INTEGER,
    since DATE,
    until DATE,
    digest TEXT,
    PRIMARY KEY (region)
);
COMMENT ON TABLE region IS 'region codes, old ones with what they became; present state';
COMMENT ON COLUMN region.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE goods (
    goods TEXT NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    english TEXT,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    tolerance_percent NUMERIC,
    shelf_life_h INTEGER,
    storage_min_c NUMERIC,
    storage_max_c NUMERIC,
    digest TEXT,
    PRIMARY KEY (goods)
);
COMMENT ON TABLE goods IS 'goods, present state';
COMMENT ON COLUMN goods.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE goods_yield (
    source TEXT NOT NULL,
    goods TEXT NOT NULL,
    version INTEGER NOT NULL,
    least NUMERIC NOT NULL,
    most NUMERIC NOT NULL,
    digest TEXT,
    PRIMARY KEY (source, goods)
);
COMMENT ON TABLE goods_yield IS 'how much of a good one unit of another gives, present state';
COMMENT ON COLUMN goods_yield.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE product (
    product TEXT NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    english TEXT,
    kind TEXT NOT NULL,
    goods TEXT,
    gtin TEXT,
    national_code TEXT,
    approval TEXT,
    dosage_form TEXT,
    specification TEXT,
    holder TEXT,
    units_per_pack INTEGER,
    unit TEXT,
    storage_min_c NUMERIC,
    storage_max_c NUMERIC,
    digest TEXT,
    PRIMARY KEY (product)
);
COMMENT ON TABLE product IS 'products, present state';
COMMENT ON COLUMN product.product IS 'a GTIN, or the product part of drug trace codes';
COMMENT ON COLUMN product.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE party (
    party TEXT NOT NULL,
    version INTEGER NOT NULL,
    kinds TEXT[] NOT NULL,
    nodes INTEGER[] NOT NULL,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    erased BOOLEAN NOT NULL,
    digest TEXT,
    PRIMARY KEY (party)
);
CREATE INDEX party_by_node ON party USING gin (nodes);
COMMENT ON TABLE party IS 'registered parties without who they are, present state';
COMMENT ON COLUMN party.erased IS 'its private values of all earlier versions are erased';
COMMENT ON COLUMN party.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE licence (
    party TEXT NOT NULL,
    licence TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    valid_from DATE NOT NULL,
    valid_to DATE,
    status TEXT NOT NULL,
    status_since DATE NOT NULL,
    digest TEXT,
    PRIMARY KEY (party, licence)
);
CREATE INDEX licence_by_end ON licence (valid_to);
COMMENT ON TABLE licence IS 'licences of parties, present state';
COMMENT ON COLUMN licence.licence IS 'a keyed code of its number';
COMMENT ON COLUMN licence.digest IS 'SHA-256 of the salted private values of this version';
CREATE TABLE registry_version (
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    node INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    record_time TIMESTAMP WITH TIME ZONE NOT NULL,
    private BYTEA,
    PRIMARY KEY (subject, version)
);
COMMENT ON TABLE registry_version IS 'which entry made which version of a registry row, with the private values that it has the digest of';
COMMENT ON COLUMN registry_version.subject IS 'table and key of a registry row';
COMMENT ON COLUMN registry_version.private IS 'encrypted; empty where there is nothing, or it was erased';
CREATE TABLE registry_search (
    subject TEXT NOT NULL,
    tokens INTEGER[] NOT NULL,
    PRIMARY KEY (subject)
);
CREATE INDEX registry_search_by_token ON registry_search USING gin (tokens);
COMMENT ON TABLE registry_search IS 'the blind index: keyed hashes of what a registry row is found by';
"""

TRIGGERS = """
CREATE TRIGGER registry_version_is_append_only BEFORE DELETE OR TRUNCATE ON registry_version FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER registry_version_is_resealed_only BEFORE UPDATE ON registry_version FOR EACH ROW
WHEN ((NEW.subject, NEW.version, NEW.node, NEW.seq, NEW.record_time)
      IS DISTINCT FROM (OLD.subject, OLD.version, OLD.node, OLD.seq, OLD.record_time))
EXECUTE FUNCTION refuse_change();
"""

EARLIER_CHANGES = """
INSERT INTO registry_version
SELECT (c ->> 'table') || ' ' || (c -> 'row' ->> (c ->> 'table')), (c -> 'row' ->> 'version')::int, node, seq, record_time
FROM entry, LATERAL (SELECT convert_from(data, 'UTF8')::jsonb -> 'body' -> 'change') AS body(c)
WHERE node = 0 AND kind = 3
"""


def upgrade() -> None:
    for statements in (TABLES, TRIGGERS, EARLIER_CHANGES):
        op.get_bind().exec_driver_sql(statements)


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken down by a migration")
