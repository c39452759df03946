-- What somebody has to be told of: one row an incident, from when a rule began to apply until it no longer does.
create table incident (
    id         bigint generated always as identity primary key,
    -- the rule, and what it applies to within it; one incident at a time of both
    rule       text not null,
    subject    text not null,
    -- in words, without message text, phone numbers or secrets
    says       text not null,
    hint       text not null,
    opened_at  timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    closed_at  timestamptz
);
create unique index incident_open on incident (rule, subject) where closed_at is null;
create index incident_closed on incident (closed_at) where closed_at is not null;

-- What each target has still to be told: a row goes when it was told. The opening and the end of an incident are a row each.
create table incident_note (
    incident   bigint not null references incident on delete cascade,
    -- name of the target in the configuration
    target     text not null,
    closes     boolean not null,
    failures   int not null default 0,
    -- of the last failure
    error      text,
    due_at     timestamptz not null default now(),
    primary key (incident, target, closes)
);
create index incident_note_due on incident_note (target, due_at);

-- What each target was told of: an end is told only to those that were told of the beginning.
create table incident_told (
    incident   bigint not null references incident on delete cascade,
    target     text not null,
    closes     boolean not null,
    told_at    timestamptz not null default now(),
    primary key (incident, target, closes)
);

-- What one process at a time does for all nodes: whoever renewed its turn last has it, until it is silent for a while.
create table turn (
    name       text primary key,
    holder     uuid not null,
    renewed_at timestamptz not null
);

-- What may become an incident: since when a rule applies without a pause.
create table incident_pending (
    rule       text not null,
    subject    text not null,
    since      timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    -- the least that it was since then: where it falls below, something gets on, and the time begins anew
    measure    bigint,
    primary key (rule, subject)
);

-- When which node took an account: restlessness is counted from these, for a day.
create table account_lease_taken (
    account_id bigint not null references account on delete cascade,
    node       text not null,
    taken_at   timestamptz not null default now()
);
create index account_lease_taken_at on account_lease_taken (taken_at);

-- How many messages of a watched chat came in an hour: what silence is measured by. Hours without any have no row.
create table chat_hour (
    chat_id    bigint not null references watch on delete cascade,
    hour       timestamptz not null,
    messages   int not null,
    primary key (chat_id, hour)
);

-- Up to which message the hours of a chat are counted.
create table chat_hour_mark (
    chat_id    bigint primary key references watch on delete cascade,
    message_id bigint not null,
    -- hours before this one are not known
    since      timestamptz not null
);

-- The disks of a node, as it saw them last.
create table node_disk (
    node       text not null,
    -- as: store, staging, working folder
    role       text not null,
    free       bigint not null,        -- bytes, for users that are not root
    size       bigint not null,        -- bytes
    seen_at    timestamptz not null default now(),
    primary key (node, role)
);

-- Which migrations the binary of a node knows: one that is behind the schema is to be replaced.
alter table node add column schema_version bigint;
