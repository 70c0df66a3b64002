-- App and environment begin one index of whole rows only, so that a planner without statistics has nothing else to take:
-- what is found by more than they are is found by one text that begins with them.
DROP INDEX links_newest;
CREATE INDEX links_newest ON links ((app_id || '/' || environment), newest_at);
DROP INDEX links_connected;
CREATE INDEX links_connected
    ON links ((app_id || '/' || environment || '/' || customer_user_id), institution_id, created_at, link_id)
    WHERE state = 'connected';
DROP INDEX links_of_user;
CREATE INDEX links_of_user ON links ((app_id || '/' || environment || '/' || customer_user_id), created_at, link_id)
    WHERE deleted_at IS NULL;
