-- One row: who owns the journal, where its chain ends.
CREATE TABLE meta (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    epoch     INTEGER NOT NULL,
    head_seq  INTEGER NOT NULL,
    head_hash BLOB    NOT NULL
) STRICT;
INSERT INTO meta (id, epoch, head_seq, head_hash) VALUES (1, 0, 0, zeroblob(32));

-- The journal itself. The hash covers all columns but itself.
CREATE TABLE entry (
    seq      INTEGER PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    at       TEXT    NOT NULL,
    token    TEXT    NOT NULL,
    rotation TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    body     TEXT    NOT NULL,
    prev     BLOB    NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
CREATE INDEX entry_stream ON entry (rotation, token, seq);

-- One row a rotation; times in nanoseconds since 1970 for the indexes only,
-- the summary has them all.
CREATE TABLE rotation (
    id         TEXT PRIMARY KEY,
    token      TEXT    NOT NULL,
    opened_seq INTEGER NOT NULL,
    closed_at  INTEGER,
    wake_at    INTEGER,
    summary    TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX rotation_open ON rotation (token) WHERE closed_at IS NULL;
CREATE INDEX rotation_wake ON rotation (wake_at) WHERE closed_at IS NULL;
CREATE INDEX rotation_order ON rotation (opened_seq);
CREATE INDEX rotation_token ON rotation (token, opened_seq);

CREATE TABLE token (
    name   TEXT PRIMARY KEY,
    record TEXT,
    due_at INTEGER
) STRICT;
CREATE INDEX token_due ON token (due_at) WHERE due_at IS NOT NULL;

-- Values that a rotation needs until it ends, encrypted.
CREATE TABLE sealed (
    rotation   TEXT NOT NULL REFERENCES rotation (id),
    slot       TEXT NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (rotation, slot)
) STRICT;
