-- What the investment accounts of a link hold, with the securities that holdings and transactions refer to, as JSON.
CREATE TABLE holdings (
    link_id   TEXT NOT NULL PRIMARY KEY REFERENCES links (link_id),
    portfolio TEXT NOT NULL
);

-- The current investment transactions of each link. What is never searched for is in `details`, as JSON.
CREATE TABLE investment_transactions (
    link_id                   TEXT   NOT NULL REFERENCES links (link_id),
    investment_transaction_id TEXT   NOT NULL,
    account_id                TEXT   NOT NULL,
    upstream_key              TEXT   NOT NULL,
    security_id               TEXT,
    date                      TEXT   NOT NULL,
    datetime                  BIGINT,
    details                   TEXT   NOT NULL,
    PRIMARY KEY (link_id, investment_transaction_id),
    UNIQUE (link_id, account_id, upstream_key)
);
CREATE INDEX investment_transactions_listed
    ON investment_transactions (link_id, date DESC, datetime DESC, investment_transaction_id DESC, account_id);
