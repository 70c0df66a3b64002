-- What is known of a transaction beyond the bank's words, as JSON.
ALTER TABLE transactions ADD COLUMN enrichment TEXT COLLATE "C";
