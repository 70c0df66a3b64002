-- Audit rows whose own retention has ended.
CREATE INDEX audit_by_time ON audit (at);

-- When retention first saw the session, in the store's time: a session's own times follow its app's clock, which may
-- stand still for ever.
ALTER TABLE link_sessions ADD COLUMN seen_at BIGINT;
CREATE INDEX link_sessions_unseen ON link_sessions (session_id) WHERE seen_at IS NULL;
CREATE INDEX link_sessions_seen ON link_sessions (seen_at) WHERE seen_at IS NOT NULL;

-- The jobs of a link in every state: a stub goes when it has none.
CREATE INDEX jobs_by_link ON jobs (link_id, state);
