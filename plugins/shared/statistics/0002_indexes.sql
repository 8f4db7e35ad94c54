-- What the lists read by. The predicate is written as PostgreSQL shows it.

CREATE INDEX idx_client_statistics_lower ON client_statistics (lower(client_name));
CREATE INDEX idx_client_table_statistics_lower ON client_table_statistics (lower(client_name));

-- Failed operations are few, and are looked for.
CREATE INDEX idx_gateway_operation_log_dims_failed ON gateway_operation_log
    (lower(client), lower(table_name), lower(operation), created_at DESC)
        WHERE ((error IS TRUE) OR (COALESCE(status_code, 0) >= 400));
