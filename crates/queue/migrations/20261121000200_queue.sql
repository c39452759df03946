-- The running count of a partition is counted, not kept: an exit from running then locks nothing but its job.

-- Kind by kind, so that what may not start now is never read on the way to what may.
drop index job_ready;
create index job_ready on job (partition, kind, priority, run_at, id) where state = 'available';

drop index job_running;
-- also found by worker: the index is never larger than what runs
create index job_running on job (partition, worker) where state = 'running';

alter table partition
    drop column running,
    -- only workers of this holder claim here; null: all
    add column holder text;
alter table partition reset (autovacuum_vacuum_scale_factor);

-- Kinds of which nothing is claimed.
create table kind_paused (
    kind      text primary key,
    since     timestamptz not null default now()
);

-- What rests is a method; kinds say which methods they use. '*' stands for all, and a kind's name for the kind.
alter table partition_rest rename column kind to method;

alter table job
    -- the workflow run and the step in it
    add column run bigint,
    add column step text,
    -- progress_done when the present start began: what a rate is measured from
    add column progress_start bigint;

alter table job_finished add column run bigint, add column step text;

-- A start is written when it ends: one row, never touched again. What runs is in the job's own row.
delete from job_attempt where finished_at is null;
-- whoever removes a job removes its starts: a check of each row on its way in would cost more than the row
alter table job_attempt drop constraint job_attempt_job_fkey;
alter table job_attempt alter column finished_at set not null, alter column outcome set not null;

-- Jobs by kind and state, without a scan: each statement adds what it changed, and the sums are folded now and then.
create table job_count (
    kind    text not null,
    state   text not null,
    n       bigint not null,
    primary key (kind, state)
);
create table job_delta (
    kind    text not null,
    state   text not null,
    n       bigint not null
);
alter table job_delta set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
insert into job_count select kind, state, count(*) from job group by kind, state;

-- One claim: up to room jobs under one token, from the partitions that waited longest.
--
-- A function, because its third statement must see what was committed before its second got the partitions' locks:
-- that is what keeps the limit when several workers claim at once. Locks, always in this order: the worker's row
-- (shared), partitions and jobs (both skipping what is locked).
create function queue_claim(
    me bigint, holder_name text, kinds text[], crashes int[], rest_kinds text[], rest_methods text[],
    per_partition int, room int, fresh uuid,
    out candidates int, out id bigint, out kind text, out payload jsonb, out partition bigint, out priority smallint,
    out unique_key text, out parent bigint, out trigger text, out run bigint, out step text, out retry jsonb,
    out attempt int, out failure int, out crash int
) returns setof record
language plpgsql as $$
#variable_conflict use_column
declare
    held bigint[];
    open_kinds text[];
begin
    perform from worker w where w.id = me and w.state = 'live' and w.lease_until > clock_timestamp() for share;
    if not found then
        return;
    end if;
    select array_agg(k) into open_kinds from unnest(kinds) k where not exists (select from kind_paused p where p.kind = k);
    if open_kinds is null then
        return;
    end if;

    with busy as materialized (
        select j.partition, count(*) as n from job j where j.state = 'running' group by 1
    ), ready as materialized (
        select p.id
        from (
            -- in this order, so that the limit below ends the probes
            select p.id
            from partition p left join busy b on b.partition = p.id
            where not p.paused and (p.holder is null or p.holder = holder_name)
              and (p.id = 0 or coalesce(b.n, 0) < coalesce(p.running_limit, per_partition))
            order by p.last_claim_at, p.id
            offset 0
        ) p
        cross join lateral (
            select from unnest(open_kinds) k
            where not exists (select from partition_rest r where r.partition = p.id and r.until > now()
                              and (r.method in ('*', k) or (k, r.method) in (select * from unnest(rest_kinds, rest_methods))))
              and exists (select from job j where j.partition = p.id and j.kind = k and j.state = 'available')
            limit 1
        ) one
        limit room
    ), mine as materialized (
        select p.id from partition p
        where p.id = any(array(select r.id from ready r)) and not p.paused and (p.holder is null or p.holder = holder_name)
        order by p.id
        for no key update skip locked
    )
    select count(*), (select array_agg(m.id) from mine m) into candidates, held from ready;
    if held is null then
        if candidates > 0 then
            return next; -- another worker was faster
        end if;
        return;
    end if;

    return query
    with busy as materialized (
        select j.partition, count(*) as n from job j where j.state = 'running' group by 1
    ), open as materialized (
        select p.id,
               case p.id when 0 then room else least(room, coalesce(p.running_limit, per_partition) - coalesce(b.n, 0)) end as free
        from partition p left join busy b on b.partition = p.id
        where p.id = any(held)
    ), ranked as materialized (
        -- one from each partition before two from any
        select one.id, row_number() over (order by one.turn, one.partition) as place
        from open o
        cross join lateral (
            select j.id, j.partition, row_number() over () as turn
            from (
                select j.id, j.partition from unnest(open_kinds) k
                cross join lateral (
                    select j.id, j.partition, j.priority, j.run_at from job j
                    where j.partition = o.id and j.kind = k and j.state = 'available'
                    order by j.priority, j.run_at, j.id
                    limit greatest(0, least(o.free, (room + cardinality(held) - 1) / cardinality(held)))
                    for no key update of j skip locked
                ) j
                where not exists (select from partition_rest r where r.partition = o.id and r.until > now()
                                  and (r.method in ('*', k) or (k, r.method) in (select * from unnest(rest_kinds, rest_methods))))
                order by j.priority, j.run_at, j.id
                limit greatest(0, least(o.free, (room + cardinality(held) - 1) / cardinality(held)))
            ) j
        ) one
    ), claimed as (
        update job j
        set state = 'running', worker = me, token = fresh, attempt = j.attempt + 1, max_crashes = crashes[array_position(kinds, j.kind)],
            started_at = clock_timestamp(), not_before = null, cancel_requested = false, progress_start = j.progress_done
        -- an array, so that it is one probe of the key a job and never a join with the whole table
        where j.id = any(array(select r.id from ranked r where r.place <= room))
        returning j.*
    ), counted as (
        insert into job_delta
        select d.* from (select c.kind, count(*) as n from claimed c group by 1) by_kind
        cross join lateral (values (by_kind.kind, 'available', -by_kind.n), (by_kind.kind, 'running', by_kind.n)) as d(kind, state, n)
    ), served as (
        update partition p set last_claim_at = clock_timestamp()
        where p.id = any(array(select distinct c.partition from claimed c))
    )
    select 0, c.id, c.kind, c.payload, c.partition, c.priority, c.unique_key, c.parent, c.trigger, c.run, c.step, c.retry,
           c.attempt, c.failure, c.crash
    from claimed c
    order by c.priority, c.run_at, c.id;
end
$$;

create index job_finished_job on job_finished (job);
