-- A process that uses accounts: one row a life.
create table node (
    id          bigint generated always as identity primary key,
    name        text not null,
    version     text not null,
    host        text not null,              -- for people
    -- What proves, on the same host, that the process is gone: the boot, the space that its number is of, number and start.
    boot        text not null,
    pid_space   text not null,
    pid         int not null,
    pid_start   bigint not null,            -- ticks of the clock since the boot
    -- takes accounts by itself, as `telekeep run`; a command takes only those that it needs
    works       boolean not null default false,
    draining    boolean not null default false,
    started_at  timestamptz not null default now(),
    seen_at     timestamptz not null default now(),
    stopped_at  timestamptz
);

-- Who holds an account, under a token that grows with each holder.
create table account_lease (
    account_id  bigint primary key references account on delete cascade,
    token       bigint not null,
    node_id     bigint references node on delete set null,
    renewed_at  timestamptz not null,
    -- when the holder recorded that nothing of it is open any more; null: held
    closed_at   timestamptz
);

-- The nodes that alone may hold an account, by name; none: all.
create table account_pin (
    account_id  bigint not null references account on delete cascade,
    node        text not null,
    primary key (account_id, node)
);

-- Jobs of an account are claimed only by the node that holds it.
insert into partition (id, holder) select id, '' from account
on conflict (id) do update set holder = '';
create function account_partition() returns trigger language plpgsql as $$
begin
    insert into partition (id, holder) values (new.id, '') on conflict (id) do update set holder = '';
    return new;
end $$;
create trigger account_partition after insert on account for each row execute function account_partition();
