-- Nothing: the planner of this store prefers the index that fits best, also without statistics. The number is here because
-- both stores have the same migrations.
SELECT 1;
