-- Members: who stands where in a watched chat, and the lists that were read.

create table member (
    chat_id      bigint not null,               -- marked form
    user_id      bigint not null,               -- marked form: negative where a channel is banned
    -- null: seen writing; nobody told what the person is here
    status       text check (status in ('creator', 'administrator', 'member', 'restricted', 'banned', 'left')),
    -- in the chat; null: not known
    present      boolean,
    -- title, rights, dates and who invited, promoted, restricted or removed
    body         jsonb not null,
    content_hash bytea not null,
    -- order of what the status was told by: Telegram's own date and the message that told it, if one did
    told_date    timestamptz,
    told_id      bigint not null default 0,
    -- the same by this database's clock: of a list the time before it was asked for
    told_at      timestamptz,
    -- the list that brought the last change, if one did
    snapshot     bigint,
    updated_at   timestamptz not null default now(),
    revision     bigint not null default 1,
    first_seen   timestamptz not null,
    last_seen    timestamptz not null,
    account_id   bigint,
    via          text not null,
    job          bigint,
    primary key (chat_id, user_id)
);
create index member_user on member (user_id);

create table member_snapshot (
    id           bigint generated always as identity primary key,
    chat_id      bigint not null,
    account_id   bigint not null references account on delete cascade,
    job          bigint not null,
    -- of administrators alone: concludes nothing
    admins_only  boolean not null,
    -- before its first call, by this database's clock
    began_at     timestamptz not null,
    ended_at     timestamptz,
    state        text not null default 'running' check (state in ('running', 'complete', 'cut', 'hidden', 'failed')),
    reason       text,
    -- the chat's own number of members, as Telegram told it last
    told_count   bigint,
    seen_count   bigint not null default 0,
    -- asked for by the beginnings of names as well
    widened      boolean not null default false,
    calls        bigint not null default 0,
    -- who was found to have left
    left_count   bigint,
    -- which list and how far in it: where a further start goes on
    position     jsonb not null
);
create index member_snapshot_chat on member_snapshot (chat_id, id);
