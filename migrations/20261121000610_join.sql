-- Joining: what is to be joined, by which account, and what came of it; and which chats each account is in.

create table chat_join (
    id            bigint generated always as identity primary key,
    -- what people see: @name, -100…, or t.me/+ and the first letters of an invite hash
    shown         text not null,
    -- a public name, in small letters
    name          text,
    -- sealed (AEAD) invite hash: whoever has it may enter
    invite        bytea,
    invite_key_id text,
    -- SHA-256 of the target: finds it again and tells nothing
    digest        bytea not null,
    -- once known
    chat_id       bigint,
    account_id    bigint not null references account on delete cascade,
    -- the operator named the account: no other takes it over
    pinned        boolean not null,
    state         text not null default 'waiting' check (state in ('waiting', 'requested', 'joined', 'refused', 'left')),
    -- of a refused one, in Telegram's words
    reason        text,
    -- operator, or workflow NAME
    asked_by      text not null,
    -- watched once it is joined
    watch         boolean not null default false,
    purpose       text,
    tags          text[] not null default '{}',
    -- of a requested one: when it is looked whether somebody let us in, and how often it was
    look_at       timestamptz,
    looks         int not null default 0,
    looked_at     timestamptz,
    created_at    timestamptz not null default now(),
    state_at      timestamptz not null default now(),
    check (num_nonnulls(name, invite) <= 1 and (invite is null) = (invite_key_id is null))
);
create unique index chat_join_open on chat_join (digest, account_id) where state in ('waiting', 'requested');
create index chat_join_look on chat_join (look_at) where state = 'requested';
create index chat_join_chat on chat_join (chat_id, account_id);

-- Chats that an account is in, or was in once.
create table membership (
    account_id bigint not null references account on delete cascade,
    -- marked form
    chat_id    bigint not null,
    member     boolean not null,
    since      timestamptz not null default now(),
    primary key (account_id, chat_id)
);
create index membership_chat on membership (chat_id);

-- How many chats an account may be in, as far as Telegram told.
create table account_room (
    account_id bigint primary key references account on delete cascade,
    premium    boolean not null default false,
    -- Telegram said that it is in too many chats; none: not since it left one
    full_at    timestamptz
);
