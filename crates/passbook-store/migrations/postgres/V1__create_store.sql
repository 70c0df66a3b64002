-- Instants are microseconds since 1970 in BIGINT; exact decimals and dates are TEXT; sealed values are BYTEA. Text
-- compares by bytes, whatever the collation of the database, because lists are ordered by it.
-- Correctness rests on the unique keys below and on conditional updates, never on the isolation level.

CREATE TABLE apps (
    app_id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name            TEXT COLLATE "C" NOT NULL,
    clock           TEXT COLLATE "C" NOT NULL,
    allowed_origins TEXT COLLATE "C" NOT NULL
);

CREATE TABLE clients (
    client_id     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    app_id        TEXT COLLATE "C" NOT NULL REFERENCES apps (app_id),
    environment   TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    secret_hashes BYTEA  NOT NULL,
    scopes        BIGINT NOT NULL,
    disabled_at   BIGINT
);
CREATE INDEX clients_of_app ON clients (app_id);

CREATE TABLE access_tokens (
    token_hash  BYTEA  NOT NULL PRIMARY KEY,
    client_id   TEXT COLLATE "C" NOT NULL REFERENCES clients (client_id),
    app_id      TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    scopes      BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    purge_after BIGINT NOT NULL
);
CREATE INDEX access_tokens_of_client ON access_tokens (client_id);
CREATE INDEX access_tokens_newest ON access_tokens (app_id, environment, created_at);
CREATE INDEX access_tokens_purge ON access_tokens (purge_after);

-- What a read of link or numbers needs comes first, so that it never walks the overflow pages of the rest.
CREATE TABLE links (
    link_id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    app_id           TEXT COLLATE "C" NOT NULL,
    environment      TEXT COLLATE "C" NOT NULL,
    state            TEXT COLLATE "C" NOT NULL,
    error            TEXT COLLATE "C",
    granted          BIGINT NOT NULL,
    deleted_at       BIGINT,
    renderer         BIGINT NOT NULL,
    key_version      BIGINT,
    wrapped_key      BYTEA,
    link_view        BYTEA  NOT NULL,
    numbers_view     BYTEA,
    version          BIGINT NOT NULL,
    customer_user_id TEXT COLLATE "C" NOT NULL,
    institution_id   TEXT COLLATE "C" NOT NULL,
    created_at       BIGINT NOT NULL,
    first_data_at    BIGINT,
    changed_at       BIGINT NOT NULL,
    newest_at        BIGINT NOT NULL,
    import_key       TEXT COLLATE "C",
    document_format  BIGINT NOT NULL,
    document         BYTEA  NOT NULL,
    numbers          BYTEA,
    owners           BYTEA,
    credential       BYTEA
);
CREATE UNIQUE INDEX links_import_key ON links (app_id, environment, import_key);
CREATE INDEX links_listed ON links (app_id, environment, created_at, link_id)
    WHERE first_data_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX links_connected ON links (app_id, environment, customer_user_id, institution_id, created_at, link_id)
    WHERE state = 'connected';
CREATE INDEX links_newest ON links (app_id, environment, newest_at);
CREATE INDEX links_deleted ON links (link_id) WHERE deleted_at IS NOT NULL;

CREATE TABLE transactions (
    link_id         TEXT COLLATE "C" NOT NULL REFERENCES links (link_id),
    transaction_id  TEXT COLLATE "C" NOT NULL,
    account_id      TEXT COLLATE "C" NOT NULL,
    upstream_key    TEXT COLLATE "C" NOT NULL,
    amount          TEXT COLLATE "C" NOT NULL,
    direction       TEXT COLLATE "C" NOT NULL,
    currency        TEXT COLLATE "C" NOT NULL,
    date            TEXT COLLATE "C" NOT NULL,
    datetime        BIGINT,
    description     TEXT COLLATE "C",
    raw_description TEXT COLLATE "C",
    pending         BIGINT NOT NULL,
    original_id     TEXT COLLATE "C",
    PRIMARY KEY (link_id, transaction_id),
    UNIQUE (link_id, account_id, upstream_key)
);
CREATE INDEX transactions_listed ON transactions (link_id, date DESC, datetime DESC, transaction_id DESC);

CREATE TABLE jobs (
    job_id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    app_id      TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    link_id     TEXT COLLATE "C" NOT NULL REFERENCES links (link_id),
    work        TEXT COLLATE "C" NOT NULL,
    due_at      BIGINT NOT NULL,
    app_due_at  BIGINT,
    state       TEXT COLLATE "C" NOT NULL,
    fence       BIGINT NOT NULL,
    lease_owner TEXT COLLATE "C",
    lease_until BIGINT,
    finished_at BIGINT
);
CREATE INDEX jobs_due ON jobs (due_at, job_id) WHERE state = 'open';
CREATE INDEX jobs_due_of_app ON jobs (app_id, due_at) WHERE state = 'open';
CREATE INDEX jobs_of_link ON jobs (link_id) WHERE state = 'open';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'open' AND lease_until IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE state <> 'open';

-- `position` and `positioned_at` (real time) are given by the dispatcher; events without them are not yet read by anybody.
CREATE TABLE events (
    link_id       TEXT COLLATE "C" NOT NULL REFERENCES links (link_id),
    sequence      BIGINT NOT NULL,
    app_id        TEXT COLLATE "C" NOT NULL,
    environment   TEXT COLLATE "C" NOT NULL,
    at            BIGINT NOT NULL,
    kind          TEXT COLLATE "C" NOT NULL,
    body          TEXT COLLATE "C" NOT NULL,
    position      BIGINT,
    positioned_at BIGINT,
    PRIMARY KEY (link_id, sequence)
);
CREATE INDEX events_newest ON events (app_id, environment, at);
CREATE INDEX events_positioned ON events (positioned_at) WHERE positioned_at IS NOT NULL;

CREATE TABLE audit (
    app_id      TEXT COLLATE "C" NOT NULL,
    at          BIGINT NOT NULL,
    entry_id    BYTEA  NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    actor       TEXT COLLATE "C" NOT NULL,
    action      TEXT COLLATE "C" NOT NULL,
    link_id     TEXT COLLATE "C",
    PRIMARY KEY (app_id, at, entry_id)
);

CREATE TABLE link_sessions (
    session_id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    app_id              TEXT COLLATE "C" NOT NULL,
    environment         TEXT COLLATE "C" NOT NULL,
    ordinal             BIGINT NOT NULL,
    version             BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    expires_at          BIGINT NOT NULL,
    link_id             TEXT COLLATE "C",
    progress            TEXT COLLATE "C" NOT NULL,
    exchange_hash       BYTEA  UNIQUE,
    exchange_expires_at BIGINT,
    request             BYTEA
);
CREATE INDEX link_sessions_newest ON link_sessions (app_id, environment, created_at);
CREATE INDEX link_sessions_of_link ON link_sessions (link_id) WHERE request IS NOT NULL;
CREATE INDEX link_sessions_to_wipe ON link_sessions (app_id, environment, expires_at) WHERE request IS NOT NULL;

CREATE TABLE ordinals (
    app_id TEXT COLLATE "C" NOT NULL,
    kind   TEXT COLLATE "C" NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (app_id, kind)
);

CREATE TABLE app_institutions (
    app_id         TEXT COLLATE "C" NOT NULL,
    environment    TEXT COLLATE "C" NOT NULL,
    institution_id TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    country        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (app_id, environment, institution_id)
);

CREATE TABLE instance_values (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key_version BIGINT NOT NULL,
    value       BYTEA  NOT NULL
);

-- Which master keys this store belongs to; `check_value` recognises a key and tells nothing about it.
CREATE TABLE master_keys (
    key_version BIGINT NOT NULL PRIMARY KEY,
    check_value BYTEA  NOT NULL
);

-- Rewritten to find out whether writing works again after a failure.
CREATE TABLE write_probe (
    probe_id BIGINT NOT NULL PRIMARY KEY,
    value    BIGINT NOT NULL
);
INSERT INTO write_probe (probe_id, value) VALUES (1, 0);
