-- Live and history become one: the state of the update streams, and what accumulates beside documents.

-- One account's stream of updates; its common pts is that of its own box.
create table account_stream (
    account_id  bigint primary key references account on delete cascade,
    qts         int not null,
    date        int not null,                  -- Telegram's seconds
    seq         int not null,
    dialogs_at  timestamptz,                    -- when the dialogs were listed: once
    updated_at  timestamptz not null default now()
);

-- Newest message id of an account's own box that the stream told without a gap: the next one answers for all between.
alter table box add column mark bigint;
-- When Telegram last said that nothing after pts is missing.
alter table box add column verified_at timestamptz;

-- Something happened to a watched chat: consumed by deletion, by the listener trigger.
create table chat_event (
    id         bigint generated always as identity primary key,
    chat_id    bigint not null,
    event      text not null,                   -- chat.joined, chat.left, chat.changed, chat.migrated
    account_id bigint,
    created_at timestamptz not null default now()
);

-- What a deletion on Telegram does to the content here.
alter table watch add column on_delete text not null default 'keep' check (on_delete in ('keep', 'erase'));

-- Texts and media of a message that another version replaced, each once.
create table message_version (
    id           bigint generated always as identity primary key,
    box_id       bigint not null references box,
    message_id   bigint not null,
    hash         bytea not null,                -- of text, entities and media id
    chat_id      bigint not null,
    date         timestamptz,
    edit_date    timestamptz,
    body         jsonb not null,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    unique (box_id, message_id, hash)
);

-- One row an occurrence.
create table link (
    id           bigint generated always as identity primary key,
    box_id       bigint not null references box,
    message_id   bigint not null,
    hash         bytea not null,                -- of the url
    chat_id      bigint not null,
    url          text not null,
    kind         text not null,                 -- invite, public, mtproxy, onion, web
    host         text,
    user_id      bigint,
    date         timestamptz,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    unique (box_id, message_id, hash)
);

-- Counts of a message at a scheduled moment.
create table metric (
    id           bigint generated always as identity primary key,
    box_id       bigint not null references box,
    message_id   bigint not null,
    scheduled_at timestamptz not null,
    chat_id      bigint not null,
    date         timestamptz not null,          -- when it was sampled
    views        bigint,
    forwards     bigint,
    reply_count  bigint,
    reactions    jsonb,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    unique (box_id, message_id, scheduled_at)
);
create index message_chat_date on message (chat_id, date) where deleted_at is null;

-- Names that a user or chat had.
create table name (
    id           bigint generated always as identity primary key,
    kind         text not null check (kind in ('chat', 'user')),
    peer_id      bigint not null,
    hash         bytea not null,                -- of the names
    first_name   text,
    last_name    text,
    title        text,
    username     text,
    revision     bigint not null default 1,
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    unique (kind, peer_id, hash)
);

-- Calls that an account may still make: a bucket a method, filled as time goes.
create table account_budget (
    account_id bigint not null references account on delete cascade,
    method     text not null,
    tokens     double precision not null,
    updated_at timestamptz not null default now(),
    primary key (account_id, method)
);

-- Workflows that the operator paused.
create table workflow_pause (
    workflow   text primary key,
    reason     text,
    created_at timestamptz not null default now()
);
