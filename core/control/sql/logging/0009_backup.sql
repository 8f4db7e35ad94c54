-- Backups and restores are jobs of the engine.
--
-- worker_daemon_id: who runs it (execution_daemon_id is the daemon that alone may); secrets: the URI of
-- pg_uri with its password, sealed, where the job or the schedule names a database by URI.

ALTER TABLE backup_jobs ADD COLUMN worker_daemon_id text;
ALTER TABLE backup_jobs ADD COLUMN cancel_requested_at timestamptz;
ALTER TABLE backup_jobs ADD COLUMN secrets text;
ALTER TABLE backup_schedules ADD COLUMN secrets text;

-- Jobs of ours: reading a whole archive, restoring it into a scratch database.
ALTER TABLE backup_jobs DROP CONSTRAINT IF EXISTS backup_jobs_job_type_check,
    ADD CONSTRAINT backup_jobs_job_type_check
        CHECK (job_type IN ('backup', 'restore', 'prove', 'drill')) NOT VALID;

CREATE INDEX idx_backup_jobs_waiting ON backup_jobs (started_at, id) WHERE (status = 'pending'::text);
CREATE INDEX idx_backup_jobs_running ON backup_jobs (lease_expires_at) WHERE (status = 'running'::text);
CREATE INDEX idx_backup_jobs_completed ON backup_jobs (client_name, completed_at DESC, id DESC)
    WHERE ((status = 'completed'::text) AND (job_type = 'backup'::text));

-- Objects that an attempt is about to put into the store: noted before the first byte goes there, gone
-- with the completion of their job. What else is here belongs to nobody once its attempt is over.
CREATE TABLE athena_backup_uploads (
    bucket text NOT NULL, key text NOT NULL, job_id bigint NOT NULL, lease_token uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), swept_at timestamptz,
    CONSTRAINT athena_backup_uploads_pkey PRIMARY KEY (key, bucket)
);
CREATE INDEX idx_athena_backup_uploads_job ON athena_backup_uploads (job_id);

-- The published columns say what the state and the checkpoint say, whoever writes those: a worker's end,
-- a lease that expired, an operator. What a writer sets itself stays.
CREATE OR REPLACE FUNCTION athena_backup_jobs_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        IF NEW.progress_stage IS NOT DISTINCT FROM OLD.progress_stage THEN
            NEW.progress_stage := CASE
                WHEN NEW.status = 'pending' THEN 'queued'
                WHEN NEW.status = 'running' AND NEW.job_type = 'backup' THEN 'pg_dump'
                WHEN NEW.status = 'running' AND NEW.job_type = 'prove' THEN 'proving'
                WHEN NEW.status = 'running' THEN 'downloading'
                WHEN NEW.status = 'cancelled' AND OLD.status = 'running' THEN OLD.progress_stage
                ELSE NEW.status END;
        END IF;
        IF NEW.progress_pct IS NOT DISTINCT FROM OLD.progress_pct THEN
            NEW.progress_pct := CASE
                WHEN NEW.status = 'completed' THEN 100
                WHEN NEW.status = 'pending' THEN NULL
                WHEN NEW.status = 'cancelled' THEN 0
                WHEN NEW.status = 'failed' AND OLD.progress_stage IN ('pg_dump', 'archiving') THEN 0
                WHEN NEW.status = 'failed' AND OLD.progress_stage IN ('downloading', 'pg_restore') THEN 90
                ELSE OLD.progress_pct END;
        END IF;
        IF NEW.status = 'cancelled' AND NEW.error_message IS NULL THEN
            NEW.error_message := 'Cancelled by operator';
        END IF;
        NEW.queue_checkpoint := NEW.queue_checkpoint || jsonb_build_object(
            'status', NEW.status, 'stage', NEW.progress_stage, 'progress_pct', NEW.progress_pct,
            'error_message', NEW.error_message, 'attempt_count', NEW.attempt_count,
            'updated_at', NEW.updated_at);
        IF NEW.status = 'completed' AND NEW.job_type = 'backup' THEN
            DELETE FROM athena_backup_uploads WHERE job_id = NEW.id AND key = NEW.s3_key;
        ELSIF OLD.status = 'running' AND EXISTS (SELECT FROM athena_backup_uploads u
                WHERE u.job_id = NEW.id AND u.key = NEW.s3_key) THEN
            NEW.s3_bucket := NULL; -- what is still noted goes away, so nothing may point to it
            NEW.s3_key := NULL;
            NEW.size_bytes := NULL;
        END IF;
    ELSIF NEW.queue_checkpoint IS DISTINCT FROM OLD.queue_checkpoint THEN
        IF NEW.progress_stage IS NOT DISTINCT FROM OLD.progress_stage THEN
            NEW.progress_stage := coalesce(NEW.queue_checkpoint->>'stage', NEW.progress_stage);
        END IF;
        IF NEW.progress_pct IS NOT DISTINCT FROM OLD.progress_pct THEN
            NEW.progress_pct := coalesce((NEW.queue_checkpoint->>'progress_pct')::numeric::integer,
                                         NEW.progress_pct);
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER athena_backup_jobs_follow BEFORE UPDATE OF status, queue_checkpoint
    ON backup_jobs FOR EACH ROW EXECUTE FUNCTION athena_backup_jobs_follow();
