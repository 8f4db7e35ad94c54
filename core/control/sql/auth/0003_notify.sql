-- Who follows the key store hears of every change, whoever makes it. Uses of keys and what learning
-- keys have seen are no changes.

CREATE OR REPLACE FUNCTION athena_auth_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('athena_auth_changed', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF
    id, api_keys_id, public_id, key_salt, key_hash, client_name, expires_at, is_active, virgin_mode,
    virgin_resolved, virgin_until_n_requests, max_whitelist_ips
    ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER UPDATE OF name
    ON api_key_rights FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_right_grants FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_config FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_client_config FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_ip_whitelist FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_ip_blacklist FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_ip_global_whitelist FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
CREATE OR REPLACE TRIGGER athena_auth_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE
    ON api_key_ip_global_blacklist FOR EACH STATEMENT EXECUTE FUNCTION athena_auth_changed();
