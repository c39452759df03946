-- A start costs fewer reads and index entries: what is locked is found by its place, and what starts nothing writes nothing.

-- Taken by job: nobody asked for an order among them, and each end paid for a sequence and a second index.
drop index job_finished_job;
alter table job_finished drop column id;
create index job_finished_job on job_finished (job, finished_at);

drop function queue_claim;

-- One claim: up to room jobs under one token, from the partitions that waited longest, or from those that the caller was
-- told of.
--
-- A function, because its last statement must see what was committed before the one above it got the partitions' locks:
-- that is what keeps the limit when several workers claim at once. Locks, always in this order: the worker's row
-- (shared), partitions and jobs (both skipping what is locked).
create function queue_claim(
    me bigint, holder_name text, kinds text[], crashes int[], rest_kinds text[], rest_methods text[],
    per_partition int, room int, fresh uuid, told bigint[],
    out candidates int, out id bigint, out kind text, out payload jsonb, out partition bigint, out priority smallint,
    out unique_key text, out parent bigint, out trigger text, out run bigint, out step text, out retry jsonb,
    out attempt int, out failure int, out crash int
) returns setof record
language plpgsql as $$
#variable_conflict use_column
declare
    asked bigint[] := told;
    held bigint[];
    open_kinds text[];
begin
    select array_agg(k) into open_kinds from unnest(kinds) k where not exists (select from kind_paused p where p.kind = k);
    if open_kinds is null then
        return;
    end if;

    if asked is null then
        with busy as materialized (
            select j.partition, count(*) as n from job j where j.state = 'running' group by 1
        )
        select array_agg(ready.id) into asked from (
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
        ) ready;
        if asked is null then
            return;
        end if;
    end if;

    perform from worker w where w.id = me and w.state = 'live' and w.lease_until > clock_timestamp() for share;
    if not found then
        return;
    end if;
    held := array(
        select p.id from partition p
        where p.id = any(asked) and not p.paused and (p.holder is null or p.holder = holder_name)
        order by p.id
        for no key update skip locked
    );
    if cardinality(held) = 0 then
        candidates := cardinality(asked);
        return next; -- another worker was faster
        return;
    end if;

    return query
    with busy as materialized (
        select j.partition, count(*) as n from job j where j.state = 'running' and j.partition = any(held) group by 1
    ), open as materialized (
        select p.id,
               case p.id when 0 then room else least(room, coalesce(p.running_limit, per_partition) - coalesce(b.n, 0)) end as free
        from partition p left join busy b on b.partition = p.id
        where p.id = any(held)
    ), ranked as materialized (
        -- one from each partition before two from any
        select one.at, row_number() over (order by one.turn, one.partition) as place
        from open o
        cross join lateral (
            select j.at, j.partition, row_number() over () as turn
            from (
                select j.at, j.partition from unnest(open_kinds) k
                cross join lateral (
                    select j.ctid as at, j.id, j.partition, j.priority, j.run_at from job j
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
        -- they are locked, and stay where they are: no probe of the key, and never a join with the whole table
        where j.ctid = any(array(select r.at from ranked r where r.place <= room))
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
