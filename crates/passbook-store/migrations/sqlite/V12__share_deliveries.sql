-- Host and port of the URL; NULL until something is sent there again. `failures` counts attempts since the last success, up to
-- ten.
ALTER TABLE webhook_addresses ADD COLUMN host TEXT;
ALTER TABLE webhook_addresses ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;

-- What a waiting delivery waits for: `blocked` by an earlier one of its link to its address that was never tried,
-- `scheduled` for `due_at` (a retry, or the end of its lease), or `ready` for an attempt. NULL unless it waits.
-- The default is for deliveries that an older release makes while this runs.
ALTER TABLE deliveries ADD COLUMN stage TEXT DEFAULT 'scheduled';
UPDATE deliveries SET stage = CASE WHEN state <> 'waiting' THEN NULL
    WHEN tries = 0 AND EXISTS (SELECT 1 FROM deliveries o WHERE o.link_id = deliveries.link_id
        AND o.address_id = deliveries.address_id AND o.sequence < deliveries.sequence
        AND o.state = 'waiting' AND o.tries = 0) THEN 'blocked'
    ELSE 'scheduled' END;
DROP INDEX deliveries_due;
DROP INDEX deliveries_next;
DROP INDEX deliveries_untried;
CREATE INDEX deliveries_waiting ON deliveries (app_id, environment, stage, address_id, due_at) WHERE stage IS NOT NULL;
CREATE INDEX deliveries_scheduled ON deliveries (due_at) WHERE stage = 'scheduled';
-- All of what names the head of a line, so that no planner prefers another index; and what waits for an address.
CREATE INDEX deliveries_lines ON deliveries (address_id, state, link_id, tries, sequence);

-- An address lives as long as its newest delivery.
DELETE FROM webhook_addresses WHERE NOT EXISTS
    (SELECT 1 FROM deliveries d WHERE d.address_id = webhook_addresses.address_id);
CREATE INDEX webhook_addresses_off ON webhook_addresses (address_id) WHERE switched_off IS NOT NULL;
