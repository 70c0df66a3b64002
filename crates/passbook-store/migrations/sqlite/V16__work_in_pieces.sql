-- What the embedded store has begun and does in several transactions; it is found again after a crash.
-- `kind` is `commit` (rows of the link `subject` belong to a commit that has not taken effect; `data` says how it began),
-- `undo` (what piece number `piece` of such a commit replaced), `erase` (rows of the deleted link `subject` are left), or
-- `retime` (due times of the app `subject` do not follow its clock yet).
-- A store reached over a network commits in one transaction and has no rows here.
CREATE TABLE unfinished_work (
    kind    TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    piece   BIGINT NOT NULL,
    data    TEXT   NOT NULL,
    PRIMARY KEY (kind, subject, piece)
);
