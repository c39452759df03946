-- Who may ask over HTTP, what was changed by whom, and what lists of jobs and messages need.

create table api_token (
    id          bigint generated always as identity primary key,
    name        text not null check (name <> ''),
    role        text not null check (role in ('viewer', 'operator', 'admin')),
    -- SHA-256 of the whole token, which is 256 random bits: nothing to be guessed, so that a slow hash would protect nothing
    hash        bytea not null unique check (length(hash) = 32),
    -- the token's first characters, by which people recognise it
    prefix      text not null,
    created_at  timestamptz not null default now(),
    -- null: it does not expire
    expires_at  timestamptz,
    -- to the minute
    used_at     timestamptz,
    revoked_at  timestamptz
);
-- a name may be given again once its token was revoked
create unique index api_token_name on api_token (name) where revoked_at is null;

-- A browser that signed in, by a token or by a first link.
create table browser_session (
    -- SHA-256 of the cookie's value
    hash        bytea primary key check (length(hash) = 32),
    -- null: of a first link, as admin
    token_id    bigint references api_token,
    -- what each change must repeat beside the cookie
    csrf        text not null,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null
);
create index browser_session_over on browser_session (expires_at);

-- One-time links, for who has no token yet.
create table first_link (
    hash        bytea primary key check (length(hash) = 32),
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    used_at     timestamptz
);

-- Each change that somebody asked for. Append only.
create table audit_log (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default clock_timestamp(),
    -- token:NAME, link, cli:USER@HOST or node:NAME
    who         text not null,
    -- as job.retry
    what        text not null,
    -- on what, as job 7 or chat -100…
    target      text not null default '',
    -- what was asked for; never a secret
    detail      jsonb not null default '{}',
    -- of the HTTP request
    request_id  uuid
);

create function audit_log_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append only';
end
$$;
create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function audit_log_is_append_only();

-- Lists of jobs by kind and state, or by chat, newest first.
create index job_listed on job (kind, state, id);
create index job_of_chat on job ((payload ->> 'chat'), id) where (payload ->> 'chat') is not null;
create index job_parent on job (parent) where parent is not null;
create index job_of_run on job (run, id) where run is not null;
-- few jobs have one: texts of errors are looked for among these
create index job_told on job (id) where error is not null;

-- How many messages came in when: a few pages, whatever the table's size.
create index message_first_seen on message using brin (first_seen);
-- The reader jumps to a date.
create index message_of_day on message (chat_id, date) where chat_id is not null;
-- Rare, and counted in each part of a coverage bar.
create index message_raw on message (box_id, message_id) where raw_reason is not null;
