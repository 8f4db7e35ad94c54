-- A log that is one table becomes the first partition of one that is partitioned by day. Columns,
-- indexes with their names and rights are those that it had; ids go on. One transaction, which waits
-- two seconds for its lock at most.
DO $$
DECLARE
    log regclass := current_setting('athena.log')::regclass;
    log_name text := (SELECT relname FROM pg_class WHERE oid = log);
    home text := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = log);
    whole text := home || '.' || quote_ident(log_name);
    old text := home || '.' || quote_ident(log_name || '_old');
    seq text := home || '.' || quote_ident(log_name || '_id_seq');
    until timestamptz := (SELECT substring(pg_get_constraintdef(oid) FROM '''([^'']+)''')::timestamptz
        FROM pg_constraint WHERE conrelid = log AND conname = log_name || '_until');
    day timestamptz;
    x record;
    indexes text[];
    rights text[];
BEGIN
    SET LOCAL lock_timeout = '2s';
    IF now() >= until THEN
        RAISE EXCEPTION 'the bound of the conversion has passed';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', log);
    SELECT array_agg(format('GRANT %s ON %s TO %s%s', privilege_type, whole,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
            CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END))
      INTO rights FROM pg_class, aclexplode(relacl) WHERE oid = log AND grantee <> relowner;

    EXECUTE format('ALTER TABLE %s ALTER COLUMN id DROP IDENTITY IF EXISTS', log);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN id DROP DEFAULT', log);
    FOR x IN SELECT conname FROM pg_constraint WHERE conrelid = log AND contype = 'p' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', log, x.conname);
    END LOOP;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I', log,
        log_name || '_old_pkey', log_name || '_id_created_at');
    FOR x IN SELECT c.relname, pg_get_indexdef(i.indexrelid) AS def FROM pg_index i
               JOIN pg_class c ON c.oid = i.indexrelid
              WHERE i.indrelid = log AND NOT i.indisprimary AND i.indisvalid LOOP
        indexes := indexes || x.def;
        EXECUTE format('ALTER INDEX %s.%I RENAME TO %I', home, x.relname,
            left(x.relname, 59) || '_old');
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', log, log_name || '_old');

    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED
        INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE (created_at)',
        whole, old);
    EXECUTE format('CREATE SEQUENCE IF NOT EXISTS %s', seq);
    EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.id', seq, whole);
    EXECUTE format('SELECT setval(%L, greatest((SELECT max(id) FROM %s), 0) + 1, false)', seq, old);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN id SET DEFAULT nextval(%L)', whole, seq);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (id, created_at)', whole,
        log_name || '_pkey');
    FOR n IN 1..coalesce(cardinality(indexes), 0) LOOP
        EXECUTE indexes[n];
    END LOOP;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)', whole,
        old, until);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', old, log_name || '_until');
    FOR n IN 0..7 LOOP
        day := ((until AT TIME ZONE 'UTC') + make_interval(days => n)) AT TIME ZONE 'UTC';
        EXECUTE format('CREATE TABLE %s.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)
            WITH (autovacuum_analyze_scale_factor = 0.05)', home,
            log_name || '_p' || to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD'), whole, day,
            ((day AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC');
    END LOOP;
    EXECUTE format('CREATE TABLE %s.%I PARTITION OF %s DEFAULT', home, log_name || '_default', whole);
    FOR n IN 1..coalesce(cardinality(rights), 0) LOOP
        EXECUTE rights[n];
    END LOOP;
END $$;
