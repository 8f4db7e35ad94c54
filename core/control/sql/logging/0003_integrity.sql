-- The words that queues may hold: those of the published programs, which read nothing else. On
-- tables that hold rows already they are checked for new rows only.

ALTER TABLE gateway_deferred_request_queue
    ADD CONSTRAINT gateway_deferred_request_queue_status_check
        CHECK (status IN ('queued', 'running', 'completed', 'dead_letter'));
ALTER TABLE backup_jobs ADD CONSTRAINT backup_jobs_job_type_check
    CHECK (job_type IN ('backup', 'restore'));
ALTER TABLE backup_jobs ADD CONSTRAINT backup_jobs_status_check
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled'));
ALTER TABLE database_clone_jobs ADD CONSTRAINT database_clone_jobs_status_check
    CHECK (status IN ('queued', 'preparing', 'running', 'verifying', 'completed',
        'failed_retryable', 'failed_terminal', 'cancel_requested', 'cancelled'));
ALTER TABLE database_clone_jobs ADD CONSTRAINT database_clone_jobs_phase_check
    CHECK (phase IN ('validate_source', 'prepare_target', 'resolve_tools', 'dump_source',
        'restore_target', 'bootstrap_athena', 'register_client', 'verify_target', 'complete'));
