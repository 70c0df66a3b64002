-- One row for each commit of the last hour. A connection that dies under a COMMIT leaves its outcome unknown; whoever
-- inserts the mark first decides it, for ever. `outcome` is `committed`, or `fenced` when the commit was ruled out.
CREATE TABLE commit_marks (
    mark    BYTEA  NOT NULL PRIMARY KEY,
    outcome TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX commit_marks_old ON commit_marks (at);
