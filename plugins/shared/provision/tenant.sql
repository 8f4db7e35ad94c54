-- The schema of a tenant, as a new database gets it; schema.c runs it in one transaction, as often
-- as anybody likes. Each CREATE TABLE is also a wish: a table that is there in another form gets the
-- columns that it lacks (without NOT NULL where there is no default), and keeps everything else. The
-- published server leaves such tables behind: eighteen when its own script fails, and chats and a
-- reduced athena.files in every client.

CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA IF NOT EXISTS athena;
CREATE SCHEMA IF NOT EXISTS billing;

-- Payments, as the providers tell of them.

CREATE TABLE IF NOT EXISTS billing.billing_provider_connections (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider text NOT NULL, account_id text,
    display_name text, mode text NOT NULL DEFAULT 'live', credentials_encrypted text,
    is_active boolean NOT NULL DEFAULT true, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS billing.billing_webhook_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider text NOT NULL, connection_id uuid,
    event_id text NOT NULL, event_type text, payload jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'pending', attempts integer NOT NULL DEFAULT 0,
    error_message text, received_at timestamptz NOT NULL DEFAULT now(), processed_at timestamptz,
    UNIQUE (provider, event_id)
);
CREATE INDEX IF NOT EXISTS billing_webhook_events_received_idx
    ON billing.billing_webhook_events (status, received_at);

CREATE TABLE IF NOT EXISTS billing.billing_payments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider text NOT NULL, connection_id uuid,
    payment_id text NOT NULL, customer_id text, organization_id text, user_id text,
    subscription_id text, invoice_id text, amount numeric(20,4),
    amount_refunded numeric(20,4) NOT NULL DEFAULT 0, currency text,
    status text NOT NULL DEFAULT 'open', method text, description text, paid_at timestamptz,
    metadata jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (provider, payment_id)
);
CREATE INDEX IF NOT EXISTS billing_payments_customer_idx
    ON billing.billing_payments (customer_id, created_at);
CREATE INDEX IF NOT EXISTS billing_payments_organization_idx
    ON billing.billing_payments (organization_id, created_at);

CREATE TABLE IF NOT EXISTS billing.billing_subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider text NOT NULL, connection_id uuid,
    subscription_id text NOT NULL, customer_id text, organization_id text, user_id text,
    plan text, amount numeric(20,4), currency text, status text NOT NULL DEFAULT 'pending',
    current_period_start timestamptz, current_period_end timestamptz, cancel_at timestamptz,
    canceled_at timestamptz, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider, subscription_id)
);
CREATE INDEX IF NOT EXISTS billing_subscriptions_customer_idx
    ON billing.billing_subscriptions (customer_id);

CREATE TABLE IF NOT EXISTS billing.billing_invoices (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider text NOT NULL, connection_id uuid,
    invoice_id text NOT NULL, number text, customer_id text, organization_id text,
    subscription_id text, amount_due numeric(20,4), amount_paid numeric(20,4) NOT NULL DEFAULT 0,
    currency text, status text NOT NULL DEFAULT 'draft', due_at timestamptz, paid_at timestamptz,
    document_url text, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider, invoice_id)
);
CREATE INDEX IF NOT EXISTS billing_invoices_customer_idx
    ON billing.billing_invoices (customer_id, created_at);

-- Files in object stores, and who may see them.

CREATE TABLE IF NOT EXISTS athena.s3 (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, provider text,
    bucket text NOT NULL, region text, endpoint text,
    force_path_style boolean NOT NULL DEFAULT false, default_prefix text, public_base_url text,
    description text NOT NULL DEFAULT '', is_active boolean NOT NULL DEFAULT true,
    metadata jsonb NOT NULL DEFAULT '{}', deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name)
);

CREATE TABLE IF NOT EXISTS athena.s3_credentials (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), s3_id uuid, catalog_id uuid,
    access_key_id text NOT NULL, secret_key text, secret_key_encrypted text,
    session_token_encrypted text, encryption_key_id text, is_active boolean NOT NULL DEFAULT true,
    metadata jsonb NOT NULL DEFAULT '{}', rotated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_s3_credentials_s3_idx ON athena.s3_credentials (s3_id);

CREATE TABLE IF NOT EXISTS athena.files (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, s3_id uuid, catalog_id uuid,
    organization_id text, user_id text, resource_type text, resource_id text, bucket text,
    storage_key text, name text, original_name text, mime_type text, extension text,
    size_bytes bigint, checksum_sha256 text, visibility text NOT NULL DEFAULT 'private', url text,
    metadata jsonb NOT NULL DEFAULT '{}', deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_files_organization_resource_created_idx
    ON athena.files (organization_id, resource_type, resource_id, created_at);
CREATE INDEX IF NOT EXISTS athena_files_user_created_idx ON athena.files (user_id, created_at);
CREATE INDEX IF NOT EXISTS athena_files_storage_key_idx ON athena.files (storage_key);

CREATE TABLE IF NOT EXISTS athena.audit_log_files (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, file_id text NOT NULL,
    audit_log_id bigint, action text, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_audit_log_files_file_idx ON athena.audit_log_files (file_id);

CREATE TABLE IF NOT EXISTS athena.event_log_files (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, file_id text NOT NULL, event_id text,
    event_type text, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_event_log_files_file_idx ON athena.event_log_files (file_id);

CREATE TABLE IF NOT EXISTS athena.file_permissions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), file_id text NOT NULL,
    principal_type text NOT NULL DEFAULT 'user', principal_id text NOT NULL,
    permission text NOT NULL DEFAULT 'read', granted_by text, expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (file_id, principal_type, principal_id, permission)
);
CREATE INDEX IF NOT EXISTS athena_file_permissions_principal_idx
    ON athena.file_permissions (principal_id);

CREATE TABLE IF NOT EXISTS athena.s3_url_cache (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, file_id text, s3_id uuid,
    storage_key text NOT NULL, purpose text NOT NULL DEFAULT 'get', url text NOT NULL,
    expires_at timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_s3_url_cache_key_idx
    ON athena.s3_url_cache (storage_key, expires_at);

CREATE TABLE IF NOT EXISTS athena.storage_audit_events (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, event_type text, file_id text,
    catalog_id uuid, bucket text, storage_key text, actor_id text, organization_id text,
    status text, error_message text, details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_storage_audit_events_created_idx
    ON athena.storage_audit_events (created_at);

-- Who signs in, and how. The gateway's session check reads users, sessions, member and
-- user_permission_scopes.

CREATE TABLE IF NOT EXISTS athena.users (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, email text,
    email_verified boolean NOT NULL DEFAULT false, image text, username text,
    display_username text, phone_number text, role text, banned boolean NOT NULL DEFAULT false,
    ban_reason text, ban_expires timestamptz, two_factor_enabled boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (email), UNIQUE (username)
);

CREATE TABLE IF NOT EXISTS athena.sessions (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, token text NOT NULL,
    user_id text NOT NULL, expires_at timestamptz NOT NULL, active boolean NOT NULL DEFAULT true,
    ip_address text, user_agent text, active_organization_id text, impersonated_by text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (token)
);
CREATE INDEX IF NOT EXISTS athena_sessions_user_idx ON athena.sessions (user_id);
CREATE INDEX IF NOT EXISTS athena_sessions_expires_idx ON athena.sessions (expires_at);

CREATE TABLE IF NOT EXISTS athena.account (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, account_id text NOT NULL,
    provider_id text NOT NULL, user_id text NOT NULL, access_token text, refresh_token text,
    id_token text, access_token_expires_at timestamptz, refresh_token_expires_at timestamptz,
    scope text, password text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (provider_id, account_id)
);
CREATE INDEX IF NOT EXISTS athena_account_user_idx ON athena.account (user_id);

CREATE TABLE IF NOT EXISTS athena.accounts (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, account_id text NOT NULL,
    provider_id text NOT NULL, user_id text NOT NULL, access_token text, refresh_token text,
    id_token text, access_token_expires_at timestamptz, refresh_token_expires_at timestamptz,
    scope text, password text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (provider_id, account_id)
);
CREATE INDEX IF NOT EXISTS athena_accounts_user_idx ON athena.accounts (user_id);

CREATE TABLE IF NOT EXISTS athena.verifications (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, identifier text NOT NULL,
    value text NOT NULL, expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_verifications_identifier_idx
    ON athena.verifications (identifier);

CREATE TABLE IF NOT EXISTS athena.two_factor (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, user_id text NOT NULL,
    secret text NOT NULL, backup_codes text, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_two_factor_user_idx ON athena.two_factor (user_id);

CREATE TABLE IF NOT EXISTS athena.passkeys (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, public_key text NOT NULL,
    user_id text NOT NULL, credential_id text NOT NULL, counter bigint NOT NULL DEFAULT 0,
    device_type text, backed_up boolean NOT NULL DEFAULT false, transports text, aaguid text,
    created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (credential_id)
);
CREATE INDEX IF NOT EXISTS athena_passkeys_user_idx ON athena.passkeys (user_id);

CREATE TABLE IF NOT EXISTS athena.oauth_clients (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, client_id text NOT NULL,
    client_secret text, name text, redirect_uris text[] NOT NULL DEFAULT '{}',
    scopes text[] NOT NULL DEFAULT '{}', type text NOT NULL DEFAULT 'web',
    disabled boolean NOT NULL DEFAULT false, user_id text, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (client_id)
);

CREATE TABLE IF NOT EXISTS athena.organization (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text NOT NULL, slug text, logo text,
    metadata text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (slug)
);

CREATE TABLE IF NOT EXISTS athena.member (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, organization_id text NOT NULL,
    user_id text NOT NULL, role text NOT NULL DEFAULT 'member',
    created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (organization_id, user_id)
);
CREATE INDEX IF NOT EXISTS athena_member_user_idx ON athena.member (user_id);

CREATE TABLE IF NOT EXISTS athena.invitation (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, organization_id text NOT NULL,
    email text NOT NULL, role text, status text NOT NULL DEFAULT 'pending',
    expires_at timestamptz NOT NULL, inviter_id text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_invitation_organization_idx
    ON athena.invitation (organization_id, email);

CREATE TABLE IF NOT EXISTS athena.user_permission_scopes (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, user_id text NOT NULL, scope text,
    is_global boolean NOT NULL DEFAULT false, enabled boolean NOT NULL DEFAULT true,
    granted_by text, expires_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_user_permission_scopes_user_idx
    ON athena.user_permission_scopes (user_id);

CREATE TABLE IF NOT EXISTS athena.api_keys (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, start text, prefix text,
    key text NOT NULL, user_id text, organization_id text, refill_interval bigint,
    refill_amount integer, last_refill_at timestamptz, enabled boolean NOT NULL DEFAULT true,
    rate_limit_enabled boolean NOT NULL DEFAULT false, rate_limit_time_window bigint,
    rate_limit_max integer, request_count integer NOT NULL DEFAULT 0, remaining integer,
    last_request timestamptz, expires_at timestamptz, permissions text, metadata text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (key)
);
CREATE INDEX IF NOT EXISTS athena_api_keys_user_idx ON athena.api_keys (user_id);

CREATE TABLE IF NOT EXISTS athena.apikey (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, start text, prefix text,
    key text NOT NULL, user_id text, organization_id text, refill_interval bigint,
    refill_amount integer, last_refill_at timestamptz, enabled boolean NOT NULL DEFAULT true,
    rate_limit_enabled boolean NOT NULL DEFAULT false, rate_limit_time_window bigint,
    rate_limit_max integer, request_count integer NOT NULL DEFAULT 0, remaining integer,
    last_request timestamptz, expires_at timestamptz, permissions text, metadata text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (key)
);
CREATE INDEX IF NOT EXISTS athena_apikey_user_idx ON athena.apikey (user_id);

CREATE TABLE IF NOT EXISTS athena.athena_clients (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, client_name text NOT NULL,
    description text, is_active boolean NOT NULL DEFAULT true, pg_uri_env_var text,
    metadata jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (client_name)
);

CREATE TABLE IF NOT EXISTS athena.ip_profiles (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, ip_address text NOT NULL, country text,
    region text, city text, asn text, organization text, is_proxy boolean, risk_score integer,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL DEFAULT '{}',
    UNIQUE (ip_address)
);

CREATE TABLE IF NOT EXISTS athena.session_ip_profiles (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, session_id text NOT NULL,
    ip_profile_id text NOT NULL, first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_session_ip_profiles_session_idx
    ON athena.session_ip_profiles (session_id);

-- What was done, and by whom.

CREATE TABLE IF NOT EXISTS athena.audit_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(), "table" text, record_id text, action text,
    actor_id text, organization_id text, old_values jsonb, new_values jsonb, ip_address text,
    user_agent text, metadata jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS athena_audit_log_created_idx ON athena.audit_log (created_at);

CREATE TABLE IF NOT EXISTS athena.admin_audit_logs (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(), admin_id text, action text, target_type text,
    target_id text, details jsonb NOT NULL DEFAULT '{}', ip_address text, user_agent text
);
CREATE INDEX IF NOT EXISTS athena_admin_audit_logs_created_idx
    ON athena.admin_audit_logs (created_at);

-- Mails.

CREATE TABLE IF NOT EXISTS athena.email_event_types (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, key text NOT NULL, description text,
    is_active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (key)
);

CREATE TABLE IF NOT EXISTS athena.email_templates (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, key text NOT NULL, event_type_id text,
    subject text, body_html text, body_text text, locale text NOT NULL DEFAULT 'en',
    is_active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (key, locale)
);

CREATE TABLE IF NOT EXISTS athena.emails (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, template_id text, user_id text,
    recipient text NOT NULL, sender text, subject text, body_html text, body_text text,
    status text NOT NULL DEFAULT 'pending', provider text, provider_message_id text,
    scheduled_at timestamptz, sent_at timestamptz, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_emails_status_idx ON athena.emails (status, scheduled_at);

CREATE TABLE IF NOT EXISTS athena.email_send_failures (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, email_id text, recipient text,
    error_message text, attempt integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_email_send_failures_email_idx
    ON athena.email_send_failures (email_id);

-- Chats.

CREATE TABLE IF NOT EXISTS athena.chat_rooms (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text,
    room_type text NOT NULL DEFAULT 'group', organization_id text, created_by text,
    archived_at timestamptz, last_message_at timestamptz, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS athena.chat_room_members (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, room_id text, user_id text,
    role text NOT NULL DEFAULT 'member', last_read_message_id text, last_read_at timestamptz,
    muted_until timestamptz, joined_at timestamptz NOT NULL DEFAULT now(), left_at timestamptz,
    UNIQUE (room_id, user_id)
);
CREATE INDEX IF NOT EXISTS athena_chat_room_members_user_idx
    ON athena.chat_room_members (user_id);

CREATE TABLE IF NOT EXISTS athena.chat_messages (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, room_id text, sender_id text,
    reply_to_id text, body text, message_type text NOT NULL DEFAULT 'text',
    metadata jsonb NOT NULL DEFAULT '{}', edited_at timestamptz, deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_chat_messages_room_created_idx
    ON athena.chat_messages (room_id, created_at);

CREATE TABLE IF NOT EXISTS athena.chat_message_attachments (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, message_id text, file_id text,
    position integer NOT NULL DEFAULT 0, metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_chat_message_attachments_message_idx
    ON athena.chat_message_attachments (message_id);

CREATE TABLE IF NOT EXISTS athena.chat_message_reactions (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text, message_id text, user_id text,
    reaction text, created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, user_id, reaction)
);

CREATE TABLE IF NOT EXISTS athena.chat_outbox (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, room_id text, message_id text,
    event_type text, payload jsonb NOT NULL DEFAULT '{}', status text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0, next_attempt_at timestamptz, error_message text,
    created_at timestamptz NOT NULL DEFAULT now(), processed_at timestamptz
);
CREATE INDEX IF NOT EXISTS athena_chat_outbox_due_idx
    ON athena.chat_outbox (status, next_attempt_at);

CREATE TABLE IF NOT EXISTS athena.chat_session_auth_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, session_id text, user_id text,
    room_id text, decision text, reason text, ip_address text, user_agent text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS athena_chat_session_auth_log_created_idx
    ON athena.chat_session_auth_log (created_at);
