-- The queue: jobs, the partitions they run in, the workers that lease them, and what each start came to.

-- One row a worker incarnation: a restart under the same name is a new row, so that nothing but the reaper
-- ever touches what a dead process left.
create table worker (
    id          bigint generated always as identity primary key,
    name        text not null,
    -- host and process, for the attempt log
    node        text not null,
    -- live claims; draining only finishes; gone holds nothing, and its jobs belong to the reaper
    state       text not null default 'live' check (state in ('live', 'draining', 'gone')),
    -- extended by the heartbeat; the database's clock
    lease_until timestamptz not null,
    started_at  timestamptz not null default now(),
    gone_at     timestamptz
);
create index worker_present on worker (lease_until) where state <> 'gone';

-- One row a partition, made by the first job in it; 0 is the partition of jobs that have none (never limited).
create table partition (
    id              bigint primary key,
    -- jobs in state running: raised by the claim, lowered by whatever ends it, each in the same statement
    running         int not null default 0 check (running >= 0),
    -- overrides the worker's limit
    running_limit   int check (running_limit >= 0),
    paused          boolean not null default false,
    -- fairness: the partition that waited longest is served first
    last_claim_at   timestamptz not null default '-infinity'
);

-- Kinds that must not start in a partition before a time; '*' stands for all.
create table partition_rest (
    partition   bigint not null,
    kind        text not null,
    until       timestamptz not null,
    reason      text not null default '',
    primary key (partition, kind)
);

create sequence job_id_seq as bigint;

create table job (
    id               bigint primary key default nextval('job_id_seq'),
    kind             text not null,
    payload          jsonb not null,
    partition        bigint not null default 0,
    -- 1 is the most urgent
    priority         smallint not null default 2 check (priority between 1 and 4),
    state            text not null check (state in
                        ('scheduled', 'available', 'running', 'done', 'held', 'dead', 'cancelled')),
    run_at           timestamptz not null default now(),
    -- a wait that somebody else asked for (a snooze): nothing moves run_at before it
    not_before       timestamptz,
    unique_key       text,
    parent           bigint,
    trigger          text,
    -- in place of what the kind's policy says of failures
    retry            jsonb,
    -- starts, failures, and leases that ran out in a row
    attempt          int not null default 0,
    failure          int not null default 0,
    crash            int not null default 0,
    -- of the kind's policy, as the claiming worker knows it: the reaper knows no policies
    max_crashes      int not null default 3,
    worker           bigint,
    -- the claim's fencing token
    token            uuid,
    cancel_requested boolean not null default false,
    -- what the last start came to
    outcome          text,
    error            text,
    hint             text,
    progress_done    bigint,
    progress_total   bigint,
    progress_note    text,
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    check ((state = 'running') = (token is not null)),
    check ((state = 'running') = (worker is not null))
);
alter sequence job_id_seq owned by job.id;

-- unique while unfinished
create unique index job_unfinished on job (kind, unique_key)
    where unique_key is not null and state in ('scheduled', 'available', 'running', 'held');
create index job_ready on job (partition, priority, run_at, id) where state = 'available';
create index job_due on job (run_at) where state = 'scheduled';
create index job_running on job (worker) where state = 'running';
create index job_stuck on job (state, kind) where state in ('held', 'dead');
create index job_ended on job (finished_at) where state in ('done', 'dead', 'cancelled');

-- One row a start.
create table job_attempt (
    job         bigint not null references job on delete cascade,
    attempt     int not null,
    worker      bigint not null,
    node        text not null,
    started_at  timestamptz not null,
    finished_at timestamptz,
    outcome     text,
    error       text,
    primary key (job, attempt)
);

-- Each terminal arrow leaves a row here in the same statement; followers take rows by deleting them.
create table job_finished (
    id          bigint generated always as identity primary key,
    job         bigint not null,
    kind        text not null,
    state       text not null check (state in ('done', 'dead', 'cancelled')),
    outcome     text not null,
    parent      bigint,
    trigger     text,
    finished_at timestamptz not null
);

-- These tables are updated in place all the time: leave room for it, and clean early.
alter table job set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
alter table partition set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
alter table job_finished set (autovacuum_vacuum_scale_factor = 0.02);
