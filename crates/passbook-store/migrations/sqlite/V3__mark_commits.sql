-- Only stores reached over a network use this table, where a connection can die under a COMMIT. It is here because both
-- stores have the same tables.
CREATE TABLE commit_marks (
    mark    BLOB   NOT NULL PRIMARY KEY,
    outcome TEXT   NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX commit_marks_old ON commit_marks (at);
