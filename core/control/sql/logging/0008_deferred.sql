-- Deferred requests are carried out as they came, with the rights of who asked, once.
--
-- request_text, context: the body and all else that it needs; began_at: since when it may have taken
-- effect without anybody knowing; generation: of its idempotency key, a new one for each run that
-- begins without such doubt.

ALTER TABLE gateway_deferred_request_queue ADD COLUMN request_text text;
ALTER TABLE gateway_deferred_request_queue ADD COLUMN context jsonb;
ALTER TABLE gateway_deferred_request_queue ADD COLUMN generation integer;
ALTER TABLE gateway_deferred_request_queue ADD COLUMN began_at timestamptz;
ALTER TABLE gateway_deferred_request_queue ADD COLUMN cancel_requested_at timestamptz;

CREATE INDEX idx_gateway_deferred_request_queue_newest
    ON gateway_deferred_request_queue (created_at DESC, request_id DESC);
