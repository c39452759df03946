# The API's lists as people use them: requests/s and how long the slowest of a hundred takes, with 1,000,000 jobs and 1,000,000
# messages. Run by scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# What is read was not collected: jobs and messages are made by SQL (generate_series), and the documents go to Elasticsearch by bulk as
# the projector sends them (`telekeep reindex`). Four readers ask at once, each the next request when the last is
# answered, over one connection each; caches are warm: each pattern is asked WARM times before. Filters, pages and words change from
# request to request. Readers, server, Postgres and Elasticsearch share this machine.

jobs=${1:-1000000} messages=${2:-1000000}
if ! [[ $jobs =~ ^[0-9]+$ && $messages =~ ^[0-9]+$ ]]; then stop "usage: scripts/bench http [JOBS [MESSAGES]]"; fi
readers=4 each=2500
ask() { "$psql" -qtAX -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "$1"; }

build --release
configure 30
printf '\n[http]\nrequests_per_second = 0\nstrangers_per_minute = 0\n' >>"$stage/telekeep.toml"
telekeep migrate

head_line "$jobs jobs, $messages messages"
ask "insert into partition (id) values (0) on conflict do nothing"
# Nine of ten have ended, as in a queue that has worked for weeks; a few wait, run late, failed or are held.
ask "insert into job (kind, payload, state, run_at, unique_key, attempt, failure, error, hint, created_at, started_at, finished_at, outcome)
     select kind, jsonb_build_object('chat', -1000000000000 - n % 500, 'window', jsonb_build_object('from', n, 'to', n + 4999)), state,
            at, kind || n, 1, case when state = 'dead' then 8 else 0 end,
            case when state in ('dead', 'held') then 'CHANNEL_PRIVATE in chat ' || n % 500 end,
            case when state = 'held' then 'join the chat, then release the job' end, at, at,
            case when state in ('done', 'dead', 'cancelled') then at + interval '1 second' end, state
     from (select n, (array['history_fetch', 'history_fetch', 'chat_refresh', 'count_sample', 'file_download'])[1 + n % 5] as kind,
                  case when n % 1000 = 1 then 'dead' when n % 1000 = 2 then 'held' when n % 200 = 3 then 'cancelled'
                       when n % 20 = 4 then 'available' when n % 20 = 5 then 'scheduled' else 'done' end as state,
                  now() - make_interval(secs => $jobs - n) as at
           from generate_series(1, $jobs) n) j"
ask "insert into job_count select kind, state, count(*) from job group by 1, 2 on conflict (kind, state) do update set n = excluded.n"
ask "insert into watch (chat_id) select -1000000000001 - c from generate_series(0, 499) c on conflict do nothing;
     insert into chat (chat_id, type, body, content_hash, via)
     select -1000000000001 - c, 'channel', jsonb_build_object('title', 'Chat ' || c), '\\x00', 'import' from generate_series(0, 499) c;
     insert into box (channel_id) select -1000000000001 - c from generate_series(0, 499) c"
# Words by Zipf's law out of 20,000, twelve a message: the most frequent one is in most of them.
ask "insert into message (box_id, message_id, chat_id, date, body, content_hash, search, via)
     select b.id, n / 500 + 1, b.channel_id, timestamptz '2024-01-01' + make_interval(secs => n * 60),
            jsonb_build_object('text', t.text, 'from_user_id', 1000 + n % 5000, 'text_language', 'en', 'media', false),
            decode(md5(n::text), 'hex'), to_tsvector('simple', t.text), 'import'
     from generate_series(0, $messages - 1) n
     join (select id, channel_id, row_number() over (order by id) - 1 as place from box) b on b.place = n % 500
     cross join lateral (
         select string_agg('word' || floor(20000 ^ (('x' || substr(md5(n || ':' || w), 1, 8))::bit(32)::bigint / 4294967296.0))::int, ' ' order by w) as text
         from generate_series(1, 12) w) t"
ask "analyze"
[ "$(ask "select count(*) from job")" -ge "$jobs" ] || fail "the jobs are not there"

head_line "The index takes $messages documents"
began=$SECONDS
telekeep reindex >>"$stage/reindex.log" 2>&1 8>&- 3>&- || fail "the index could not be built; see $stage/reindex.log"
curl -fsS --noproxy '*' -o /dev/null -X POST "$ELASTICSEARCH_URL/$TELEKEEP_INDEX_PREFIX-message/_refresh"
[ "$(curl -fsS --noproxy '*' "$ELASTICSEARCH_URL/$TELEKEEP_INDEX_PREFIX-message/_count" | jq .count)" -ge "$messages" ] ||
    fail "the index has not all messages"
note "after $((SECONDS - began)) s"
ask "vacuum analyze"

token=$(telekeep token create bench --role viewer 2>/dev/null)
port=$((20000 + RANDOM % 20000))
telekeep serve --listen "127.0.0.1:$port" >>"$stage/serve.log" 2>&1 8>&- 3>&- &
worker=$!
until curl -fsS --noproxy '*' -o /dev/null "http://127.0.0.1:$port/api/v1/openapi.json" 2>/dev/null; do worker_lives; sleep 0.2; done

head_line "$readers readers at once"
python3 "$root/benches/http_readers.py" "127.0.0.1:$port" "$token" "$readers" "$each" >"$stage/told.json" 8>&- 3>&- || fail "the readers failed"
end_process "$worker" TERM
wait "$worker" 2>/dev/null || true
worker=''
{
    printf '%-28s %10s %10s %10s\n' page 'requests/s' 'p50 ms' 'p99 ms'
    jq -r '.pages[] | [.page, (.requests_per_s | round), (.p50_ms * 10 | round / 10), (.p99_ms * 10 | round / 10)] | @tsv' "$stage/told.json" |
        while IFS=$'\t' read -r page rate p50 p99; do printf '%-28s %10s %10s %10s\n' "$page" "$rate" "$p50" "$p99"; done
} >&3
jq -c --argjson jobs "$jobs" --argjson messages "$messages" \
    '{bench: "http", jobs: $jobs, messages: $messages, readers: '"$readers"'} + (.pages | {
        jobs_p99_ms: (map(select(.page | startswith("jobs")).p99_ms) | max * 10 | round / 10),
        search_p99_ms: (map(select(.page | startswith("search")).p99_ms) | max * 10 | round / 10),
        jobs_requests_per_s: (map(select(.page | startswith("jobs")).requests_per_s) | add / length | round),
        search_requests_per_s: (map(select(.page | startswith("search")).requests_per_s) | add / length | round)})' "$stage/told.json" >&3
