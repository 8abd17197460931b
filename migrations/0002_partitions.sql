-- Partitions that the catalog is to learn of: follow-up work that commits leave. A row goes once it is done.

CREATE TABLE partition_work (
  pipeline       INTEGER NOT NULL,
  directory      TEXT NOT NULL,    -- below the lake's root
  partition      TEXT NOT NULL,    -- the part of it below the template's root; empty: the table itself
  schema_version INTEGER NOT NULL, -- the highest of its data files: the table needs these columns first
  batch          INTEGER NOT NULL, -- the last that landed there
  PRIMARY KEY (pipeline, directory)
) STRICT, WITHOUT ROWID;
