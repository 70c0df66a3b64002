-- Since when the app is switched off: its clients are refused and its jobs wait. NULL while it is in use.
ALTER TABLE apps ADD COLUMN disabled_at BIGINT;
CREATE INDEX apps_disabled ON apps (disabled_at, app_id) WHERE disabled_at IS NOT NULL;
