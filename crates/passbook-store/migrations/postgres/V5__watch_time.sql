-- What retention knows of the store's time; the only row has the key 1. `hold` is in microseconds.
CREATE TABLE watched_time (
    watch_id BIGINT NOT NULL PRIMARY KEY,
    seen_at  BIGINT NOT NULL,
    hold     BIGINT NOT NULL
);
