-- What readers that follow a link's transactions have to be told, in the order of commits. A transaction has at most one
-- row of each kind. `since` is the position of the `created` row of what was removed.
CREATE TABLE transaction_changes (
    link_id        TEXT   NOT NULL REFERENCES links (link_id),
    position       BIGINT NOT NULL,
    transaction_id TEXT   NOT NULL,
    kind           TEXT   NOT NULL,
    account_id     TEXT   NOT NULL,
    since          BIGINT,
    PRIMARY KEY (link_id, position),
    UNIQUE (link_id, transaction_id, kind)
) WITHOUT ROWID;

-- Which pending transaction a posted one was.
ALTER TABLE transactions ADD COLUMN pending_id TEXT;

INSERT INTO transaction_changes (link_id, position, transaction_id, kind, account_id)
SELECT link_id, ROW_NUMBER() OVER (PARTITION BY link_id ORDER BY date, transaction_id), transaction_id, 'created', account_id
FROM transactions;

-- With the account, so that a list of some accounts skips and counts on the index alone.
DROP INDEX transactions_listed;
CREATE INDEX transactions_listed ON transactions (link_id, date DESC, datetime DESC, transaction_id DESC, account_id);
