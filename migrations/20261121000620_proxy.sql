-- SOCKS5 proxies, and which account goes through which.

create table proxy (
    id              bigint generated always as identity primary key,
    name            text not null unique,
    host            text not null,
    port            int not null check (port between 1 and 65535),
    login           text,                            -- the user that the proxy asks for
    -- sealed (AEAD), bound to the proxy's name
    password        bytea,
    password_key_id text,
    -- accounts of the pool may take it
    pooled          boolean not null,
    -- the last use or check: when, and how long the way to Telegram took to open
    tried_at        timestamptz,
    good_at         timestamptz,
    latency_ms      int,
    -- of the tries so far, the newest weighing a fifth; null: never tried
    success_rate    double precision check (success_rate between 0 and 1),
    successes       bigint not null default 0,
    failures        bigint not null default 0,
    -- since the last success
    failed_in_row   int not null default 0,
    error           text,
    created_at      timestamptz not null default now(),
    check ((password is null) = (password_key_id is null)),
    check ((password is null) = (login is null))
);

-- By label, not by account: a sign-in that has no account yet takes the same way. No row: direct.
create table account_route (
    label      text primary key,
    -- any of the pool; else the one proxy, and never another way
    pooled     boolean not null,
    -- of a pooled account: what it keeps while it works
    proxy_id   bigint references proxy on delete restrict,
    -- since when, and why not the one before
    since      timestamptz not null default now(),
    reason     text,
    check (pooled or proxy_id is not null)
);

create index account_route_proxy on account_route (proxy_id);

-- Proxies of the pool that an account left: it does not return within a time, because a key that is used from two places in turn
-- is ended by Telegram.
create table account_route_left (
    label      text not null,
    proxy_id   bigint not null references proxy on delete cascade,
    left_at    timestamptz not null default now(),
    primary key (label, proxy_id)
);
