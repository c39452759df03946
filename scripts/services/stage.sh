# The steps of scripts/demo: its world, its processes, its checks; scripts/bench takes what it needs. Sourced, never run.
# shellcheck shell=bash disable=SC2154

head_line() { printf '\n── %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() { printf '\n%s: FAILED: %s\n' "$script" "$*" >&2; printf '%s: logs are in %s\n' "$script" "$stage" >&2; exit 1; }

take_the_stage() { # NAME
    stage_name=$1 stage=$state/$1 worker='' simulator=''
    exec 8>"$state/$1.lock"
    if command -v flock >/dev/null; then
        flock -n 8 || stop "another scripts/$1 runs in this checkout; wait for it to end"
    fi
    rm -rf "$stage"
    mkdir -p "$stage/workflows"
    trap leave_the_stage EXIT
}

# Ends what was started here, and only that.
leave_the_stage() {
    local pid
    for pid in $worker $simulator; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in $worker $simulator; do
        end_process "$pid" TERM
        wait "$pid" 2>/dev/null || true
    done
}

build() { # [--release]
    local start=$SECONDS profile=debug
    [ "${1:-}" != --release ] || profile=release
    head_line "Build"
    note "the first one compiles every dependency: about 5 to 10 minutes on two cores; later ones take seconds"
    PATH=$PATH:$HOME/.cargo/bin
    (cd "$root" && cargo build "$@" --locked -p telekeep -p telekeep-simulator --bins 8>&-)
    programs=$(cd "$root" && cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory)/$profile
    PATH=$programs:$PATH
    note "built in $((SECONDS - start)) s"
}

# Finds psql, and keeps the address of the server.
prepare_psql() {
    psql=$(command -v psql || { folder=$(postgres_programs) && printf '%s/psql' "$folder"; }) ||
        stop "psql is missing; install it: apt-get install -y postgresql-client"
    server=${server:-$DATABASE_URL}
}

# A database and indices of this stage's own, empty; nothing of the caller's configuration.
configure() { # LEASE_SECONDS
    local name base query index_name
    prepare_psql
    unset TELEKEEP_KEY_FILE TELEKEEP_WORKFLOWS TELEKEEP_API_ID TELEKEEP_API_HASH
    name=telekeep_${stage_name}_$(printf %s "$root" | cksum | cut -d' ' -f1)
    base=${server%%\?*} query=${server#"$base"}
    "$psql" -q "$server" -v ON_ERROR_STOP=1 -c 'set client_min_messages = warning' \
        -c "drop database if exists $name with (force)" -c "create database $name" ||
        stop "the database $name could not be made at DATABASE_URL; its user must be allowed to create databases"
    export DATABASE_URL=${base%/*}/$name$query
    prefix=${name//_/-}
    if [ "$index" = yes ]; then
        while read -r index_name; do
            [ -z "$index_name" ] || elasticsearch DELETE "/$index_name" >/dev/null
        done < <(elasticsearch GET "/$prefix-*/_settings" | jq -r 'keys[]')
    fi
    cat >"$stage/telekeep.toml" <<TOML
key_file = "$stage/telekeep.key"
workflows = "$stage/workflows"
[index]
prefix = "$prefix"
[worker]
lease_seconds = $1
[alerts]
# What the visitor's disk has left is not the stage's affair: doctor would call it a fault.
disk_free_percent = 0
TOML
    export TELEKEEP_CONFIG=$stage/telekeep.toml TELEKEEP_INDEX_PREFIX=$prefix
}

# The demo's world, that of the visitor's export, or the small one.
choose_world() {
    world=$root/crates/simulator/worlds/demo.toml
    if [ -n "$export_folder" ]; then
        world=$stage/world.toml
        printf 'export = %s\n[rules]\nmultiple = 20\n' \
            "$(jq -n --arg folder "$export_folder" '$folder')" >"$world"
    elif [ "$small" = yes ]; then
        world=$stage/world.toml
        sed -e 's/^messages = 3000$/messages = 300/' -e 's/^messages = 20000$/messages = 1000/' \
            "$root/crates/simulator/worlds/demo.toml" >"$world"
    fi
}

elasticsearch() { # METHOD PATH [ARGUMENT…]
    local method=$1 path=$2
    shift 2
    curl -fsS -m 30 -X "$method" "${ELASTICSEARCH_URL%/}$path" "$@"
}

ask_simulator() { # PATH [JSON]
    if [ $# -eq 1 ]; then
        curl -fsS --noproxy '*' -m 60 "$control$1"
    else
        curl -fsS --noproxy '*' -m 30 -H 'content-type: application/json' -d "$2" -o /dev/null "$control$1"
    fi
}

start_simulator() {
    local start=$SECONDS multiple
    telekeep-simulator serve --world "$world" >"$stage/simulator.json" 2>"$stage/simulator.log" 8>&- &
    simulator=$!
    while control=$(jq -r .control "$stage/simulator.json" 2>/dev/null) && [ -z "$control" ]; do
        kill -0 "$simulator" 2>/dev/null || { cat "$stage/simulator.log" >&2; fail "the simulator ended"; }
        [ $((SECONDS - start)) -lt 60 ] || fail "the simulator is not ready after a minute"
        sleep 0.1
    done
    multiple=$(sed -n 's/^multiple *= *\([0-9.]*\).*/\1/p' "$world")
    note "a simulated datacentre speaks MTProto at $(jq -r .mtproto "$stage/simulator.json")"
    if [ -n "$multiple" ]; then
        note "it floods like Telegram, at $multiple times Telegram's rate (3,000 history messages in 30 s)"
    fi
}

# The chats of the demo: the channel and the supergroup, or all of an export.
watch_chats() {
    local id kind
    ask_simulator /chats >"$stage/all-chats.json"
    if [ -n "$export_folder" ]; then
        cp "$stage/all-chats.json" "$stage/chats.json"
    else
        jq '[.[] | select(.kind == "channel" or .kind == "supergroup")]' "$stage/all-chats.json" >"$stage/chats.json"
    fi
    [ "$(jq length "$stage/chats.json")" -gt 0 ] || fail "there is no chat to watch in this world"
    while IFS=$'\t' read -r id kind; do
        case $kind in
        channel | supergroup) telekeep chat watch "$id" ;;
        *) telekeep chat watch "$id" --purpose "the demo, on an export of my own" ;;
        esac
    done < <(jq -r '.[] | [.chat_id, .kind] | @tsv' "$stage/chats.json")
    jq -r '.[] | "   \(.title): \(.last_id) ids, \(.count) messages exist, \(.last_id - .count) do not"' "$stage/chats.json"
    ids=$(jq '[.[].last_id] | add' "$stage/chats.json")
}

set_workflow() { # SCHEDULE
    cat >"$stage/workflows/.backfill" <<TOML
name = "demo-backfill"
description = "Close every hole of the watched chats."

[trigger.cron]
schedule = "$1"   # seconds first
timezone = "UTC"
missed = "latest"

[select]
kinds = ["channel", "supergroup", "forum", "group", "private", "bot"]
incomplete = true

[[step]]
name = "refresh"
job = "chat_refresh"

[[step]]
name = "history"
job = "history_fetch"
after = ["refresh"]
retry = { max_failures = 8, base = "1s", cap = "1m", jitter = 0.2 }
priority = 2
TOML
    # At once, so that no half-written file is read.
    mv "$stage/workflows/.backfill" "$stage/workflows/demo-backfill.toml"
}

# An answer takes so long that there is a middle to be killed in: about 12 s for all pages, two at a time.
slow_down() {
    local pages=$((ids / 100 + 1)) ms
    ms=$((24000 / pages))
    [ "$ms" -le 1500 ] || ms=1500
    [ "$ms" -ge 50 ] || ms=50
    ask_simulator /latency "{\"ms\": $ms}"
    note "each answer of the datacentre takes $ms ms, so that there is a middle to be killed in"
}

start_worker() { # NAME
    telekeep run --name "demo-$1" >>"$stage/worker.log" 2>&1 8>&- &
    worker=$!
    note "the $1 worker runs as process $worker"
}

worker_lives() {
    kill -0 "$worker" 2>/dev/null || { tail -n 10 "$stage/worker.log" >&2; fail "the worker ended by itself"; }
}

wait_for_tick() {
    local start=$SECONDS
    while [ "$(telekeep workflow runs --json | jq '[.[] | select(.trigger != "manual")] | length')" -eq 0 ]; do
        worker_lives
        [ $((SECONDS - start)) -lt 30 ] || fail "no cron tick within 30 s"
        sleep 0.2
    done
    note "cron ticked after $((SECONDS - start)) s:"
    telekeep workflow runs
}

# How many ids are answered for, over all watched chats.
answered() {
    telekeep coverage --json | jq '[.chats[] | .collected + .deleted + .lost + .empty + .inaccessible + .dead] | add // 0'
}

# A bar with rate and remaining time; a line now and then where there is no terminal.
bar() { # DONE SECONDS DONE_AT_THE_START
    local width=30 full rate left text
    full=$(($1 * width / (ids > 0 ? ids : 1)))
    [ "$full" -le "$width" ] || full=$width
    rate=$((($1 - $3) / ($2 > 0 ? $2 : 1)))
    left=$(((ids - $1) / (rate > 0 ? rate : 1)))
    text=$(printf '[%-*s] %d/%d ids (%d/s, %d s left)' "$width" "$(printf '%*s' "$full" '' | tr ' ' '=')" "$1" "$ids" "$rate" "$left")
    if [ -t 1 ]; then
        printf '\r   %s\033[K' "$text"
    elif [ $(($2 / 5)) -ne "${bar_shown:--1}" ]; then
        bar_shown=$(($2 / 5))
        note "$text"
    fi
}

running_jobs() { telekeep job list --state running --json --limit 1000 | jq -c '[.[].id]'; }

# SIGKILL while between so many percent are done and jobs are in flight. Keeps their ids.
interrupt_between() { # FROM TO
    local start=$SECONDS now=0 percent=0
    interrupted='[]'
    while :; do
        worker_lives
        now=$(answered)
        percent=$((now * 100 / ids))
        bar "$now" $((SECONDS - start)) 0
        if [ "$percent" -gt "$2" ]; then
            # An export of one or two pages has no middle.
            [ -n "$export_folder" ] && [ "$ids" -lt 1000 ] || fail "at $percent % already: it was too fast to be killed before $2 %"
            note "this export is too small to be interrupted halfway; it is killed at $percent %"
            break
        fi
        if [ "$percent" -ge "$1" ] && [ "$(running_jobs)" != '[]' ]; then break; fi
        [ $((SECONDS - start)) -lt 120 ] || fail "only $percent % after two minutes"
        sleep 0.1
    done
    kill -KILL "$worker"
    wait "$worker" 2>/dev/null || true
    worker=''
    now=$(answered)
    interrupted=$(running_jobs)
    [ ! -t 1 ] || printf '\n'
    note "SIGKILL at $((now * 100 / ids)) %, with jobs $(jq -r 'map(tostring) | join(", ") | if . == "" then "none" else . end' <<<"$interrupted") in flight"
    if [ "$interrupted" = '[]' ] && [ "$percent" -le "$2" ]; then fail "no job was in flight when the worker was killed"; fi
}

count_down_lease() {
    local left=0 shown='' start=$SECONDS
    while :; do
        left=$(telekeep job workers --json | jq '[.[] | select(.state != "gone") | .lease_remaining_seconds] | max // 0 | ceil')
        [ "$left" -gt 0 ] || break
        if [ -t 1 ]; then
            printf '\r   the lease of the killed worker ends in %d s \033[K' "$left"
        elif [ -z "$shown" ] || [ "$left" -le $((shown - 5)) ]; then
            note "the lease of the killed worker ends in $left s"
            shown=$left
        fi
        [ $((SECONDS - start)) -lt 90 ] || fail "the lease of the killed worker does not end"
        sleep 0.5
    done
    [ ! -t 1 ] || printf '\r\033[K'
    note "its lease is over"
}

collect_all() {
    local start=$SECONDS now=0 open before
    before=$(answered)
    while :; do
        worker_lives
        now=$(answered)
        bar "$now" $((SECONDS - start)) "$before"
        open=$(telekeep coverage --json | jq '[.chats[] | .missing + .stale] | add // 1')
        if [ "$open" -eq 0 ] && [ "$now" -ge "$((ids * 99 / 100))" ]; then break; fi
        [ $((SECONDS - start)) -lt 150 ] || fail "$open ids are still missing"
        sleep 0.3
    done
    [ ! -t 1 ] || printf '\n'
    # Nightly from now on: nothing starts beneath the checks.
    set_workflow "0 0 3 * * *"
    ask_simulator /latency '{"ms": 0}'
    telekeep job wait --timeout 60 || fail "jobs were left unfinished"
    [ "$(running_jobs)" = '[]' ] || fail "a job was left running"
}

check_interrupted() {
    local id
    for id in $(jq '.[]' <<<"$interrupted"); do
        telekeep job show "$id"
        telekeep job show "$id" --json | jq -e '.job.state == "done" and (.attempts | length) >= 2' >/dev/null ||
            fail "job $id was interrupted and is not done by a later attempt"
    done
}

check_coverage() {
    telekeep coverage --json | jq -e --slurpfile truth "$stage/chats.json" \
        '(.chats | length) == ($truth[0] | length) and all(.chats[]; .missing == 0 and .stale == 0 and .dead == 0)' >/dev/null ||
        fail "the ledger shows missing, stale or dead ids"
    note "no id is missing: each was collected, or was told to be empty"
}

# Waits until the projection has sent what it has.
settle_index() {
    local start=$SECONDS
    [ "$index" = yes ] || return 0
    until telekeep audit --no-repair --json >"$stage/audit.json" 2>"$stage/audit.log"; do
        [ $((SECONDS - start)) -lt 60 ] || { cat "$stage/audit.log" >&2; telekeep audit --no-repair || true; fail "the index did not catch up with the record in a minute"; }
        sleep 1
    done
    note "the index holds what the record holds, $((SECONDS - start)) s after the last job"
}

# Searches for a word that a message of the truth holds.
check_search() {
    local word
    word=$(jq -r '.[0].chat_id' "$stage/chats.json")
    ask_simulator "/truth/$word" >"$stage/truth.ndjson"
    word=$(jq -rn '[limit(400; inputs | .text // "" | scan("\\b[\\p{Latin}\\p{Cyrillic}\\p{Greek}\\p{Arabic}]{5,12}\\b"))][0] // ""' "$stage/truth.ndjson")
    if [ -z "$word" ]; then
        note "no word in an alphabet was found to search for; NOT checked: the search"
        return 0
    fi
    telekeep search --limit 3 -- "$word"
    telekeep search --limit 3 --json -- "$word" |
        jq -e '.total > 0 and (.hits | length) > 0 and all(.hits[]; .highlight | contains("<em>"))' >/dev/null ||
        fail "the search for $word found nothing, or marked nothing"
}

compare_all() {
    local id from sources=(record)
    [ "$index" = no ] || sources+=(index)
    for from in "${sources[@]}"; do
        for id in $(jq '.[].chat_id' "$stage/chats.json"); do
            telekeep export "$id" --from "$from" >"$stage/$from$id.ndjson"
            (cd "$stage" && telekeep-simulator compare --control "$control" "$from$id.ndjson") ||
                fail "the $from differs from the datacentre's truth in chat $id"
        done
    done
}

damage_index() {
    local id largest
    largest=$(jq 'max_by(.count).chat_id' "$stage/chats.json")
    while read -r id; do
        elasticsearch DELETE "/$prefix-message/_doc/$(jq -rn --arg id "$id" '$id | @uri')?refresh=true" >/dev/null ||
            fail "document $id could not be deleted"
        note "deleted $id"
    done < <(jq -rs '[.[0], .[length / 2 | floor], .[-1]] | .[]._id' "$stage/index$largest.ndjson")
}

# The last line of the demo.
name_sink() {
    if [ "$index" = yes ]; then
        printf 'Sink: Elasticsearch %s at %s\n' "$(elasticsearch GET /_nodes | jq -r '[.nodes[].version] | unique | join(", ")')" \
            "$(sed 's#//[^/@]*@#//#' <<<"$ELASTICSEARCH_URL")"
    else
        printf 'Sink: none; the record in Postgres %s\n' "$("$(command -v psql || printf '%s/psql' "$(postgres_programs)")" -tA "$DATABASE_URL" -c 'show server_version')"
    fi
}
