-- Schedules say what becomes of runs that were missed or would overlap, and how many backups are kept;
-- a job that may be there only once at a time has a key for that.
--
-- missed_run_policy: once (null), skip, all; overlap_policy: skip (null), allow; retention_count: so many
-- backups of the schedule are kept (null: all).

ALTER TABLE backup_schedules ADD COLUMN missed_run_policy text;
ALTER TABLE backup_schedules ADD COLUMN overlap_policy text;
ALTER TABLE backup_schedules ADD COLUMN retention_count integer;
ALTER TABLE backup_jobs ADD COLUMN unique_key text;

CREATE INDEX idx_backup_schedules_due ON backup_schedules (next_run_at) WHERE (enabled = true);
CREATE UNIQUE INDEX idx_backup_jobs_unique_key ON backup_jobs (unique_key)
    WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
