-- The last midnight (UTC) that no row of the log can have passed before it is converted: a check which
-- PostgreSQL then takes for the partition's bounds, so that attaching reads no row.
DO $$
DECLARE
    log regclass := current_setting('athena.log')::regclass;
    name text := (SELECT relname FROM pg_class WHERE oid = log) || '_until';
    until timestamptz := (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '2 days')
        AT TIME ZONE 'UTC';
BEGIN
    SET LOCAL lock_timeout = '2s';
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', log, name);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I
        CHECK (created_at IS NOT NULL AND created_at < %L) NOT VALID', log, name, until);
END $$;
