-- The ledger of one link and of one kind, by position: a reader of either passes over no other event. The key of a tenant
-- is one value here, so that no other index can answer the same question.
CREATE INDEX events_of_link ON events (link_id, position) WHERE position IS NOT NULL;
CREATE INDEX events_of_kind ON events ((app_id || ' ' || environment), kind, position) WHERE position IS NOT NULL;
