-- Where the events of the link went when this one was written.
ALTER TABLE events ADD COLUMN webhook TEXT;
-- Given with the position.
ALTER TABLE events ADD COLUMN event_id TEXT;
CREATE UNIQUE INDEX events_by_id ON events (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX events_waiting ON events (at, link_id, sequence) WHERE position IS NULL;
CREATE UNIQUE INDEX events_by_position ON events (app_id, environment, position) WHERE position IS NOT NULL;

-- URLs that take an app's webhooks. `failing_since` by the app's clock; a reason in `switched_off` means that they get none.
CREATE TABLE webhook_addresses (
    address_id    TEXT NOT NULL PRIMARY KEY,
    app_id        TEXT NOT NULL,
    environment   TEXT NOT NULL,
    url           TEXT NOT NULL,
    failing_since BIGINT,
    switched_off  TEXT
);

-- One for each event and address. `attempts` counts those that ended, `tries` those since the last replay. A lease moves
-- `due_at` to its end; `app_due_at` stays.
CREATE TABLE deliveries (
    token       TEXT NOT NULL PRIMARY KEY,
    link_id     TEXT NOT NULL,
    sequence    BIGINT NOT NULL,
    address_id  TEXT NOT NULL REFERENCES webhook_addresses (address_id),
    app_id      TEXT NOT NULL,
    environment TEXT NOT NULL,
    body        TEXT NOT NULL,
    state       TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    tries       BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    app_due_at  BIGINT NOT NULL,
    fence       BIGINT NOT NULL,
    lease_owner TEXT,
    last_status BIGINT,
    last_error  TEXT,
    UNIQUE (link_id, sequence, address_id)
);
CREATE INDEX deliveries_due ON deliveries (address_id, due_at, link_id, sequence) WHERE state = 'waiting';
CREATE INDEX deliveries_next ON deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX deliveries_untried ON deliveries (link_id, address_id, sequence) WHERE state = 'waiting' AND tries = 0;
