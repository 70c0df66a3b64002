-- The links of an end user, in the order in which they were made.
CREATE INDEX links_of_user ON links (app_id, environment, customer_user_id, created_at, link_id)
    WHERE deleted_at IS NULL;
