-- What requests with an idempotency key need in a client's database: the answers of the last day.
CREATE SCHEMA IF NOT EXISTS athena;
CREATE TABLE IF NOT EXISTS athena.idempotency_keys (
    client      text NOT NULL,      -- as requests name it, in lower case
    key_id      text NOT NULL,      -- of the API key; empty: none, or the administrator's
    route       text NOT NULL,
    key         text NOT NULL,      -- as the caller chose it
    request     text NOT NULL,      -- SHA-256 of the body
    status      smallint NOT NULL,  -- 200, or 400 for a refusal
    body        text NOT NULL,      -- the answer, or the refusal's code and words
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, key_id, route, key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_created_at_idx ON athena.idempotency_keys (created_at);
REVOKE ALL ON athena.idempotency_keys FROM PUBLIC;
COMMENT ON TABLE athena.idempotency_keys IS
    'Answers of requests with an Idempotency-Key; the gateway removes what is older than a day';
