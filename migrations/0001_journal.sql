-- The journal: files, segments, checkpoints, batches, schemas.
--
-- Numbers that count up to 2^64 (ids of journals and spools, inodes, devices, hashes) are stored as the signed number with the
-- same bits; offsets, sizes and counts stay below 2^63. Digests are 16 bytes, most significant first. Times are nanoseconds since 1970.
-- Nothing here is a secret, and no byte of a record is, but for `payload.bytes`.

CREATE TABLE journal (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  id       INTEGER NOT NULL,
  made_ns  INTEGER NOT NULL,
  clean    INTEGER NOT NULL, -- 1: closed in good order, nothing to check at the next start
  file_ids INTEGER NOT NULL  -- file ids up to here were given out, though pruned rows no longer show them
) STRICT;

CREATE TABLE pipeline (
  id            INTEGER PRIMARY KEY,
  name          TEXT NOT NULL UNIQUE,
  spool         INTEGER NOT NULL,
  lake          TEXT NOT NULL,
  staged        INTEGER NOT NULL DEFAULT 0, -- highest batch staged
  committed     INTEGER NOT NULL DEFAULT 0, -- highest batch committed
  committed_ns  INTEGER,
  payload_bytes INTEGER NOT NULL DEFAULT 0  -- sum over `payload.bytes` as stored
) STRICT;

-- How files are read: settings or a header, as JSON, each text once.
CREATE TABLE reading (
  id    INTEGER PRIMARY KEY,
  hash  INTEGER NOT NULL,
  value TEXT NOT NULL
) STRICT;
CREATE INDEX reading_hash ON reading (hash);

-- 0 <= checkpoint <= staged_end <= put_end <= decoded
CREATE TABLE file (
  id             INTEGER PRIMARY KEY,
  pipeline       INTEGER NOT NULL,
  path           BLOB NOT NULL,
  path_hash      INTEGER NOT NULL,
  inode          INTEGER NOT NULL,
  device         INTEGER NOT NULL,
  size           INTEGER NOT NULL,
  mtime_ns       INTEGER NOT NULL,
  state          INTEGER NOT NULL, -- 0 reading, 1 committed, 2 retired, 3 quarantined
  settings       INTEGER NOT NULL, -- reading.id
  header         INTEGER,          -- reading.id
  put_end        INTEGER NOT NULL, -- end of the last journaled segment
  staged_end     INTEGER NOT NULL, -- end of the last segment that is in a batch
  checkpoint     INTEGER NOT NULL, -- end of the last segment in a committed batch
  decoded        INTEGER,
  fingerprint    BLOB,
  torn           TEXT,
  records        INTEGER NOT NULL DEFAULT 0,
  rejected       INTEGER NOT NULL DEFAULT 0,
  rejected_bytes INTEGER NOT NULL DEFAULT 0,
  skipped_bytes  INTEGER NOT NULL DEFAULT 0,
  reason         TEXT,
  skipped        INTEGER NOT NULL DEFAULT 0,
  retire_target  BLOB,
  quarantined_to TEXT,
  changed_ns     INTEGER NOT NULL
) STRICT;
CREATE INDEX file_path ON file (pipeline, path_hash);
CREATE INDEX file_size ON file (pipeline, size);
CREATE INDEX file_state ON file (pipeline, state) WHERE state <> 2;

CREATE TABLE segment (
  file           INTEGER NOT NULL,
  from_offset    INTEGER NOT NULL,
  to_offset      INTEGER NOT NULL,
  batch          INTEGER NOT NULL, -- 0: journaled with its payload and in no batch yet
  line           INTEGER NOT NULL,
  records        INTEGER NOT NULL,
  last           INTEGER NOT NULL,
  digest         BLOB NOT NULL,
  rejected       INTEGER NOT NULL DEFAULT 0,
  rejected_bytes INTEGER NOT NULL DEFAULT 0,
  skipped_bytes  INTEGER NOT NULL DEFAULT 0,
  lane           INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (file, from_offset, to_offset, batch)
) STRICT, WITHOUT ROWID;

-- Bytes of segments that are not committed, `journal = "payload"` only. `put` counts up in put order.
CREATE TABLE payload (
  put         INTEGER PRIMARY KEY,
  pipeline    INTEGER NOT NULL,
  file        INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  to_offset   INTEGER NOT NULL,
  bytes       BLOB NOT NULL -- zstd
) STRICT;
CREATE UNIQUE INDEX payload_segment ON payload (file, from_offset, to_offset);

CREATE TABLE batch (
  pipeline INTEGER NOT NULL,
  number   INTEGER NOT NULL,
  state    INTEGER NOT NULL, -- 0 staged, 1 committed, 2 done
  ranges   INTEGER NOT NULL, -- segments that refer to it; at 0 its data files may be forgotten
  PRIMARY KEY (pipeline, number)
) STRICT, WITHOUT ROWID;

-- Of batches that are not done.
CREATE TABLE manifest (
  id       INTEGER PRIMARY KEY,
  pipeline INTEGER NOT NULL,
  batch    INTEGER NOT NULL,
  files    BLOB NOT NULL, -- file ids in the order of the manifest's files, 8 bytes each, least significant first
  text     BLOB NOT NULL, -- JSON, zstd
  UNIQUE (pipeline, batch)
) STRICT;

CREATE TABLE data_file (
  pipeline       INTEGER NOT NULL,
  batch          INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  reject         INTEGER NOT NULL,
  path           TEXT NOT NULL,
  staged         TEXT NOT NULL,
  copies         BLOB NOT NULL, -- 24 bytes each: length, most significant first, and digest
  records        INTEGER NOT NULL,
  membership     BLOB NOT NULL,
  lane           INTEGER NOT NULL,
  partition      TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  PRIMARY KEY (pipeline, batch, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE schema (
  pipeline INTEGER NOT NULL,
  version  INTEGER NOT NULL,
  text     TEXT NOT NULL, -- JSON
  PRIMARY KEY (pipeline, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  text     TEXT NOT NULL, -- JSON
  answered INTEGER,       -- 1: done, 0: refused; NULL: it waits
  answer   TEXT
) STRICT;

-- A word for `status`, not durable at once.
CREATE TABLE said (
  pipeline TEXT PRIMARY KEY,
  text     TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
