-- The number of the last trip of each writer of log rows, for each part: a trip is committed with its
-- number, so that one which is sent twice counts once.
create table if not exists athena_log_writers (
    writer  uuid        not null,
    part    text        not null,
    number  bigint      not null,
    seen_at timestamptz not null default now(),
    primary key (writer, part)
) with (fillfactor = 50);
