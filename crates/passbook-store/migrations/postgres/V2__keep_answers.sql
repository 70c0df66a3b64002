-- What was answered to requests with an idempotency key. A row without a status is a reservation: its request is being
-- worked on, or was cut off and may be begun again after `expires_at` under a higher fence.
CREATE TABLE kept_answers (
    app_id       TEXT COLLATE "C" NOT NULL,
    environment  TEXT COLLATE "C" NOT NULL,
    key_hash     TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA  NOT NULL,
    fence        BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    status       BIGINT,
    body         BYTEA,
    link_id      TEXT COLLATE "C",
    PRIMARY KEY (app_id, environment, key_hash)
);
CREATE INDEX kept_answers_of_link ON kept_answers (link_id) WHERE link_id IS NOT NULL;
CREATE INDEX kept_answers_expired ON kept_answers (expires_at);

-- At most one job of a link is under a lease: two replicas that choose at the same moment cannot both win.
CREATE UNIQUE INDEX jobs_one_lease_per_link ON jobs (link_id) WHERE state = 'open' AND lease_until IS NOT NULL;
