-- Files on their way: what the rules decided, how far each is fetched, and what the store holds.

create table file (
    media       bigint primary key references media on delete cascade,
    rule        text,                           -- which rule decided; null: none covers it
    by_operator boolean not null default false, -- wanted by word of the operator: rules do not undo it
    position    bigint not null default 0,      -- bytes without a gap from the start that are on disk
    node        text,                           -- in whose staging they are
    sha256      bytea,                          -- of the whole, once it was whole
    -- all that it cost, over all attempts
    fetched     bigint not null default 0,      -- bytes
    refetched   int not null default 0,         -- parts that were asked for again
    damaged     int not null default 0,         -- parts that came damaged
    renewed     int not null default 0,         -- references that were renewed
    begun_at    timestamptz,                    -- of the attempt under way, with what was there then: for the rate
    begun_from  bigint not null default 0,
    asked_at    timestamptz                     -- when a job was last made of it
);

-- Files that the rules have still to look at: consumed by deletion, so that none is overlooked. Without a key, so that two who tell of the
-- same file never wait for each other here.
create table file_undecided (
    seq   bigint generated always as identity primary key,
    media bigint not null
);

-- The rules that decided last.
create table file_rules (
    only_one   boolean primary key default true check (only_one),
    digest     text not null,
    changed_at timestamptz not null default now()
);

-- What the store holds, each content once.
create table stored_object (
    sha256    bytea primary key,
    size      bigint not null,                  -- bytes
    location  text not null,                    -- key in the store
    stored_at timestamptz not null default now()
);

create index media_by_location on media (location) where location is not null;
create index media_by_state on media (state, id desc) where state <> 'skipped';

create function file_told() returns trigger language plpgsql as $$
begin
    insert into file_undecided (media) select distinct media from told order by media;
    return null;
end $$;

-- One more chat that carries it: another rule may cover it.
create trigger file_source_told after insert on media_source
    referencing new table as told for each statement execute function file_told();

create function file_media_told() returns trigger language plpgsql as $$
begin
    insert into file_undecided (media) select id from told order by id;
    return null;
end $$;

create trigger file_media_told after insert on media
    referencing new table as told for each statement execute function file_media_told();

create function file_media_retold() returns trigger language plpgsql as $$
begin
    insert into file_undecided (media)
    select t.id from told t join was w on w.id = t.id
     where (t.type, t.size, t.mime_type, t.restricted, t.erased) is distinct from (w.type, w.size, w.mime_type, w.restricted, w.erased)
     order by t.id;
    return null;
end $$;

create trigger file_media_retold after update on media
    referencing new table as told old table as was for each statement execute function file_media_retold();

insert into file_undecided (media) select id from media order by id;
