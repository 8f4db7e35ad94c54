-- What pages of the key log and deletes of rights read by, and one row per global address rule: a
-- unique constraint lets rows with a null client repeat.

CREATE INDEX idx_api_key_auth_log_client_time ON api_key_auth_log (client_name, "time" DESC);
CREATE INDEX idx_api_key_right_grants_right ON api_key_right_grants (right_id);
CREATE UNIQUE INDEX idx_api_key_ip_global_whitelist_everyone
    ON api_key_ip_global_whitelist (addr) WHERE (client_name IS NULL);
CREATE UNIQUE INDEX idx_api_key_ip_global_blacklist_everyone
    ON api_key_ip_global_blacklist (addr) WHERE (client_name IS NULL);

ALTER TABLE api_keys SET (fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
