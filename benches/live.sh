# From the socket to a search: events of a simulated datacentre as they happen. Run by scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# The datacentre, Postgres, Elasticsearch and what makes the events share this machine with Telekeep. The rate is raised until
# Telekeep falls behind: each step lasts STEP seconds, and it keeps up where the record and the index have all of it, acknowledged,
# at most BEHIND seconds after the last event. 85 of 100 events are posts, 10 edits, 5 deletions, over four supergroups and four
# channels. Delays run from before a post is made until a search finds it, at half of that rate. The memory is the largest resident
# set (VmHWM) of a process of its own that meets EVENTS events, a minute of them without Elasticsearch.

events=${1:-100000}
if ! [[ $events =~ ^[0-9]+$ ]] || [ "$events" -lt 20000 ]; then stop "$events is no number of events from 20000 on"; fi
[[ $ELASTICSEARCH_URL =~ ^http://([^/@]+)/?$ ]] || stop "ELASTICSEARCH_URL is not http://host:port: the gate before it passes nothing else on"
elasticsearch_address=${BASH_REMATCH[1]} elasticsearch_itself=${ELASTICSEARCH_URL%/}
step=15 behind=3 away=60 rate=1600 gate=''
ask() { "$psql" -qtAX "$DATABASE_URL" -c "$1"; }
seconds_since() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.2f", to - from }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

start_gate() {
    "$programs/examples/live" gate "$elasticsearch_address" >"$stage/gate.address" 8>&- 3>&- &
    gate=$!
    until [ -s "$stage/gate.address" ]; do kill -0 "$gate" || fail "the gate ended"; sleep 0.1; done
    ELASTICSEARCH_URL=http://$(cat "$stage/gate.address")
    export ELASTICSEARCH_URL
}
end_gate() { [ -z "$gate" ] || kill "$gate" 2>/dev/null || true; }
trap 'end_gate; leave_the_stage' EXIT

start_worker() {
    TELEKEEP_LOG=${TELEKEEP_LOG:-info} telekeep run >>"$stage/worker.log" 2>&1 8>&- 3>&- &
    worker=$!
}

end_worker() {
    end_process "$worker" TERM
    wait "$worker" 2>/dev/null || true
    worker=''
}

# Whether the record stands where the datacentre stands, and the index has acknowledged all of it.
is_caught_up() {
    local pts
    pts=$(ask_simulator /chats | jq 'map(select(.kind == "channel" or .kind == "supergroup").pts) | add')
    [ "$(ask "select coalesce(sum(pts), 0) = $pts and not exists (select from outbox) from box where channel_id is not null")" = t ]
}

# Sets behind_s: how long it took from now on.
catch_up() { # LIMIT
    local from
    from=$(date +%s.%N)
    until is_caught_up; do
        worker_lives
        at_most "$(seconds_since "$from")" "$1" || fail "it has not caught up after $1 s: $(ask "select count(*) from outbox") wait for the index"
        sleep 0.1
    done
    behind_s=$(seconds_since "$from")
}

play() { # RATE COUNT SEED [ARGUMENT…]
    local rate=$1 count=$2 seed=$3
    shift 3
    "$programs/examples/live" events --control "$control" --rate "$rate" --count "$count" --seed "$seed" "$@" 8>&- 3>&-
}

resident() { awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$worker/status"; }

build --release
(cd "$root" && cargo build --release --locked -q -p telekeep-simulator --example live 8>&- 3>&-)
configure 30
start_gate
world=$stage/world.toml
{
    printf 'seed = 7\n'
    for number in 1 2 3 4; do
        for kind in supergroup channel; do
            printf '[[chat]]\nkind = "%s"\ntitle = "%s %s"\nmessages = 100\nmembers = 50\n' "$kind" "$kind" "$number"
        done
    done
} >"$world"
start_simulator
telekeep-simulator account bench --control "$control" --output "$stage/bench.session"
telekeep migrate
telekeep account import "$stage/bench.session"
cp "$root/workflows/new-chat.toml" "$stage/workflows/"
ask_simulator /chats >"$stage/chats.json"
for chat in $(jq '.[] | select(.kind == "channel" or .kind == "supergroup").chat_id' "$stage/chats.json"); do telekeep chat watch "$chat"; done
start_worker
started=$SECONDS
until [ "$(ask "select count(*) from workflow_run where state = 'running'")" -eq 0 ] && is_caught_up; do
    worker_lives
    [ $((SECONDS - started)) -lt 60 ] || fail "the histories are not read after a minute"
    sleep 0.2
done
sleep 3 # the stream looks every two seconds for what it follows

# Half of the first rate where that is too much already.
steps=() sustained=0 seed=1
while :; do
    head_line "$rate events/s for $step s"
    told=$(play "$rate" $((rate * step)) "$seed")
    catch_up 600
    seed=$((seed + 1))
    posted=$(jq '.events_per_s | round' <<<"$told")
    steps+=("$posted $behind_s")
    note "posted at $posted/s; all of it in the index $behind_s s after the last; $(resident) MiB at most so far"
    if ! at_most "$behind_s" "$behind"; then
        if [ "$sustained" -gt 0 ] || [ "$rate" -le 200 ]; then break; fi
        rate=$((rate / 2))
        continue
    fi
    [ "$posted" -gt "$sustained" ] || break
    sustained=$posted
    at_most $((rate * 95 / 100)) "$posted" || { note "the datacentre makes no more than this"; break; }
    rate=$((rate * 5 / 4))
done
[ "$sustained" -gt 0 ] || fail "it does not keep up with ${steps[${#steps[@]} - 1]% *} events/s"
ladder_rss=$(resident)

head_line "Delays at half of it"
told=$(play $((sustained / 2)) $((sustained * 30)) "$seed" --search "$elasticsearch_itself/$prefix-message")
note "$told"
p50=$(jq .delay_p50_ms <<<"$told") p99=$(jq .delay_p99_ms <<<"$told") probes=$(jq .probes <<<"$told")
catch_up 120
end_worker

head_line "$events events, Elasticsearch away for $away s"
start_worker
sleep 3
pace=$((sustained * 2 / 3))
started=$(date +%s.%N)
play "$pace" "$events" $((seed + 1)) >"$stage/played.json" &
player=$!
sleep 10
kill -USR1 "$gate"
note "Elasticsearch is away"
sleep "$away"
waiting=$(ask "select count(*) from outbox")
kill -USR2 "$gate"
note "Elasticsearch is back; $waiting documents wait in the outbox"
wait "$player" || fail "the events could not be played"
[ "$waiting" -gt 0 ] || fail "nothing happened while Elasticsearch was away: give more events"
catch_up 600
# What came too fast to be told by differences is read again.
until telekeep coverage --json | jq -e 'all(.chats[]; .missing + .stale + .dead == 0)' >/dev/null && is_caught_up; do
    worker_lives
    at_most "$(seconds_since "$started")" 900 || fail "the ledger still misses ids: $(telekeep coverage --json | jq -c '[.chats[] | .missing + .stale + .dead]')"
    sleep 1
done
whole=$(seconds_since "$started")
rss_mib=$(resident)
note "record and index are whole after $whole s; $rss_mib MiB at most"
sleep 1.5
lost=0
for chat in $(jq '.[] | select(.kind == "channel" or .kind == "supergroup").chat_id' "$stage/chats.json"); do
    for from in record index; do
        telekeep export "$chat" --from "$from" >"$stage/$from.ndjson"
        telekeep-simulator compare --control "$control" "$stage/$from.ndjson" || lost=$((lost + 1))
    done
done
end_worker
[ "$lost" -eq 0 ] || fail "$lost of the exports are not what the datacentre holds"
[ "$(ask_simulator /violations | wc -l)" -eq 0 ] || fail "the datacentre saw what endangers an account"

{
    printf '%-52s %12s\n' "events/s posted" "behind, s"
    for one in "${steps[@]}"; do printf '%-52s %12s\n' "${one% *}" "${one#* }"; done
    printf '\n%-52s %12s\n' "sustained, events/s" "$sustained" "delay at $((sustained / 2))/s, p50 of $probes, ms" "$p50" "delay, p99, ms" "$p99" \
        "peak MiB, $events events at $pace/s, index away $away s" "$rss_mib" "peak MiB with the rates above" "$ladder_rss" \
        "documents that waited for the index" "$waiting" "lost" "$lost"
    jq -nc --argjson events "$sustained" --argjson p50 "$p50" --argjson p99 "$p99" --argjson rss "$rss_mib" \
        '{events_per_s: $events, delay_p50_ms: $p50, delay_p99_ms: $p99, rss_mib: $rss}'
} >&3
