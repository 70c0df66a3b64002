-- What a master key still wraps: the walk of a rotation, and how much is left of it.
CREATE INDEX links_of_master_key ON links (key_version, link_id) WHERE key_version IS NOT NULL;
