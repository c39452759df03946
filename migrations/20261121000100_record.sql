-- The record: accounts, boxes, documents, ledger, outbox. The queue's tables come with crates/queue.

create table account (
    id            bigint generated always as identity primary key,
    label         text not null unique,
    user_id       bigint unique,
    state         text not null default 'active' check (state in ('active', 'held', 'limited', 'lost')),
    state_reason  text,
    state_at      timestamptz not null default now(),
    -- sealed (AEAD) JSON: home DC, addresses, authorisation keys
    session       bytea not null,
    -- which key sealed it
    session_key_id text not null,
    -- device identity for life: model, system version, app version, language
    device        jsonb not null default '{}',
    created_at    timestamptz not null default now()
);

create table account_peer (
    account_id  bigint not null references account on delete cascade,
    -- marked form: -100… channels, negative basic groups, positive users
    peer_id     bigint not null,
    access_hash bigint,
    username    text,
    updated_at  timestamptz not null default now(),
    primary key (account_id, peer_id)
);

-- Waits that Telegram asked for; method is Telegram's own name, as messages.getHistory.
create table account_rest (
    account_id  bigint not null references account on delete cascade,
    method      text not null,
    until       timestamptz not null,
    reason      text not null,
    primary key (account_id, method)
);

-- An id space of messages: one channel or supergroup, or all private chats and basic groups of one account.
create table box (
    id          bigint generated always as identity primary key,
    channel_id  bigint unique,                  -- marked form
    account_id  bigint unique references account,
    pts         int,
    check ((channel_id is null) <> (account_id is null))
);

create table chat (
    chat_id      bigint primary key,            -- marked form
    type         text not null,
    body         jsonb not null,
    content_hash bytea not null,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint
);

create table telegram_user (
    user_id      bigint primary key,
    body         jsonb not null,
    content_hash bytea not null,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint
);

-- What an operator asked for. Nothing is stored of a chat without a row here.
create table watch (
    chat_id    bigint primary key,
    purpose    text,
    tags       text[] not null default '{}',
    since      timestamptz,
    reader_id  bigint references account,
    created_at timestamptz not null default now()
);

create table message (
    box_id       bigint not null references box,
    message_id   bigint not null,
    chat_id      bigint,                        -- null: a deletion of an unseen id in an account box
    date         timestamptz,
    edit_date    timestamptz,
    body         jsonb,                         -- null: tombstone without content, or raw only
    content_hash bytea,
    revision     bigint not null default 1,
    -- order key of the content: Telegram's pts, then edit_date, then receipt
    order_pts    int,
    received_at  timestamptz not null default now(),
    deleted_at   timestamptz,
    deleted_after timestamptz,                  -- with deleted_at: the interval in which it went
    raw          bytea,                         -- TL bytes of what could not be normalised
    raw_reason   text,
    search       tsvector,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    primary key (box_id, message_id)
);
create index message_chat on message (chat_id, message_id);
create index message_search on message using gin (search);

create table coverage (
    id               bigint generated always as identity primary key,
    chat_id          bigint not null,
    box_id           bigint not null references box,
    account_id       bigint references account, -- set in account boxes: per account and chat
    -- answered spans; a settled id without a message row is empty
    settled          int8multirange not null default '{}',
    stale            int8multirange not null default '{}',
    -- counts marks of staleness: a page whose request began at an older count clears none
    stale_count      bigint not null default 0,
    floor            bigint not null default 1,
    top              bigint not null default 0,
    top_confirmed_at timestamptz,
    unique nulls not distinct (chat_id, account_id)
);

create table coverage_access (
    chat_id      bigint not null,
    account_id   bigint not null references account on delete cascade,
    visible_from bigint not null default 1,
    readable     boolean not null,
    reason       text,
    checked_at   timestamptz not null default now(),
    primary key (chat_id, account_id)
);

-- A place that documents go to; a reindex registers the new index as a further sink.
create table sink (
    name       text primary key,                -- elasticsearch, or elasticsearch:SUFFIX while a reindex runs
    state      text not null default 'active',
    detail     text,                            -- why it waits
    updated_at timestamptz not null default now()
);

-- kind message: key1 = box, key2 = message id; chat and user: key1 = their id, key2 = 0.
create table outbox (
    sink       text not null references sink on delete cascade,
    kind       text not null,
    key1       bigint not null,
    key2       bigint not null default 0,
    revision   bigint not null,
    created_at timestamptz not null default now(),
    primary key (sink, kind, key1, key2)
);

create table dead_letter (
    sink       text not null references sink on delete cascade,
    kind       text not null,
    key1       bigint not null,
    key2       bigint not null default 0,
    revision   bigint not null,
    reason     text not null,
    created_at timestamptz not null default now(),
    primary key (sink, kind, key1, key2)
);

-- One trigger × one chat.
create table workflow_run (
    id          bigint generated always as identity primary key,
    workflow    text not null,
    tick        timestamptz not null,
    chat_id     bigint not null,
    trigger     text not null,                  -- cron, manual, listener
    state       text not null default 'running' check (state in ('running', 'done', 'failed', 'skipped')),
    definition  jsonb not null,                 -- the file as it was when the run began
    created_at  timestamptz not null default now(),
    finished_at timestamptz,
    unique (workflow, tick, chat_id)
);
create unique index workflow_run_open on workflow_run (workflow, chat_id) where state = 'running';

create table workflow_step (
    run_id  bigint not null references workflow_run on delete cascade,
    step    text not null,
    state   text not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed', 'skipped')),
    primary key (run_id, step)
);

create table step_job (
    run_id   bigint not null,
    step     text not null,
    job_id   bigint not null,
    -- null while unfinished: done, dead, cancelled, discarded
    outcome  text,
    primary key (run_id, step, job_id),
    foreign key (run_id, step) references workflow_step on delete cascade
);
create index step_job_job on step_job (job_id);

-- The last tick of each cron trigger: what was missed is counted from here.
create table workflow_tick (
    workflow  text primary key,
    last_tick timestamptz not null
);
