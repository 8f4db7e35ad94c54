-- What lists, claims, reapers and retention read by. Predicates are written as PostgreSQL shows
-- them, so that an index which does the same under another name is recognised.

CREATE INDEX idx_gateway_operation_log_created_at ON gateway_operation_log (created_at DESC);
CREATE INDEX idx_gateway_operation_log_client_created_at
    ON gateway_operation_log (client, created_at DESC);
CREATE INDEX idx_gateway_operation_log_dims_created_at ON gateway_operation_log
    (lower(client), lower(table_name), lower(operation), created_at DESC);
CREATE INDEX idx_gateway_operation_log_request_id ON gateway_operation_log (request_id);

CREATE INDEX idx_client_connections_recorded_at ON client_connections (recorded_at);

CREATE INDEX idx_gateway_deferred_request_queue_ready
    ON gateway_deferred_request_queue (created_at, request_id)
        INCLUDE (next_attempt_at, client_name) WHERE (status = 'queued'::text);
CREATE INDEX idx_gateway_deferred_request_queue_lease
    ON gateway_deferred_request_queue (lease_expires_at) WHERE (status = 'running'::text);

CREATE INDEX idx_backup_jobs_claim
    ON backup_jobs (next_attempt_at, id) INCLUDE (lease_expires_at, execution_daemon_id)
        WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE INDEX idx_backup_jobs_schedule_id
    ON backup_jobs (schedule_id) WHERE (schedule_id IS NOT NULL);
CREATE INDEX idx_backup_schedules_due ON backup_schedules (next_run_at, id) WHERE enabled;
CREATE INDEX idx_backup_schedules_last_job_id
    ON backup_schedules (last_job_id) WHERE (last_job_id IS NOT NULL);

CREATE INDEX idx_database_clone_jobs_ready
    ON database_clone_jobs (created_at)
        WHERE ((status = 'queued'::text) AND (NOT cancel_requested));
CREATE INDEX idx_database_clone_jobs_lease
    ON database_clone_jobs (lease_expires_at)
        WHERE (status = ANY (ARRAY['preparing'::text, 'running'::text, 'verifying'::text,
            'cancel_requested'::text]));
CREATE INDEX idx_database_clone_jobs_created_at ON database_clone_jobs (created_at DESC, job_id);

CREATE INDEX idx_athena_outbox_ready
    ON athena_outbox (available_at, event_id) WHERE (published_at IS NULL);
CREATE INDEX idx_athena_outbox_published
    ON athena_outbox (published_at) WHERE (published_at IS NOT NULL);

CREATE INDEX idx_typesense_sync_jobs_ready
    ON typesense_sync_jobs (next_sync_at NULLS FIRST, id) WHERE (enabled AND auto_sync_enabled);
CREATE INDEX idx_typesense_sync_runs_running
    ON typesense_sync_runs (job_id, started_at DESC) WHERE (status = 'running'::text);

CREATE INDEX idx_database_audit_log_created_brin ON database_audit_log
    USING brin (created_at) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX idx_function_ddl_audit_log_created_brin ON function_ddl_audit_log
    USING brin (created_at) WITH (pages_per_range='32', autosummarize='true');
