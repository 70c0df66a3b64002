-- What each link holds: its own row, its transactions and its investment transactions. `byte_count` is an estimate.
CREATE TABLE link_usage (
    link_id    TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    app_id     TEXT COLLATE "C"   NOT NULL,
    shard      BIGINT NOT NULL,
    row_count  BIGINT NOT NULL,
    byte_count BIGINT NOT NULL
);

-- The same for each app, in several rows, so that commits of one app seldom wait for each other.
CREATE TABLE app_usage (
    app_id     TEXT COLLATE "C"   NOT NULL,
    shard      BIGINT NOT NULL,
    row_count  BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    PRIMARY KEY (app_id, shard)
);

INSERT INTO link_usage (link_id, app_id, shard, row_count, byte_count)
SELECT l.link_id, l.app_id, 0,
    1 + (SELECT COUNT(*) FROM transactions t WHERE t.link_id = l.link_id)
      + (SELECT COUNT(*) FROM investment_transactions i WHERE i.link_id = l.link_id),
    4096 + 800 * ((SELECT COUNT(*) FROM transactions t WHERE t.link_id = l.link_id)
      + (SELECT COUNT(*) FROM investment_transactions i WHERE i.link_id = l.link_id))
FROM links l WHERE l.deleted_at IS NULL;

INSERT INTO app_usage (app_id, shard, row_count, byte_count)
SELECT app_id, 0, SUM(row_count)::BIGINT, SUM(byte_count)::BIGINT FROM link_usage GROUP BY app_id;
