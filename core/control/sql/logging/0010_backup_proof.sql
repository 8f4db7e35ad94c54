-- What is known of backups: one row for each thing that was done with one, signed, each holding the
-- digest of the one before it. Nothing here is ever changed.
--
-- facts is json and not jsonb: its very bytes are what was signed.

CREATE TABLE athena_backup_signers (
    id text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    public_key text NOT NULL, sealed_key text NOT NULL,
    CONSTRAINT athena_backup_signers_pkey PRIMARY KEY (id)
);

CREATE TABLE athena_backup_records (
    seq bigint NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, backup_id text NOT NULL,
    job_id bigint, key text NOT NULL, facts json NOT NULL,
    previous text NOT NULL, digest text NOT NULL, signer text NOT NULL, signature text NOT NULL,
    CONSTRAINT athena_backup_records_pkey PRIMARY KEY (seq),
    CONSTRAINT athena_backup_records_kind_check
        CHECK (kind IN ('created', 'decoded', 'drilled', 'restored', 'deleted')),
    CONSTRAINT athena_backup_records_signer_fkey
        FOREIGN KEY (signer) REFERENCES athena_backup_signers (id)
);
-- One row follows each row: two writers never fork the chain.
CREATE UNIQUE INDEX idx_athena_backup_records_previous ON athena_backup_records (previous);
CREATE INDEX idx_athena_backup_records_backup ON athena_backup_records (backup_id, seq);
CREATE INDEX idx_athena_backup_records_signer ON athena_backup_records (signer);

CREATE FUNCTION athena_backup_records_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'records of backups are never changed' USING ERRCODE = '42501';
END;
$$;
CREATE TRIGGER athena_backup_records_stay BEFORE UPDATE OR DELETE OR TRUNCATE
    ON athena_backup_records FOR EACH STATEMENT EXECUTE FUNCTION athena_backup_records_stay();
