# From a simulated datacentre to Elasticsearch: Telekeep beside the script that many would write. Run by scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# Both read the same four supergroups from the same simulator (no floods, no latency) and write to the same Elasticsearch.
# Telekeep keeps a record, a ledger and durable jobs on the way; the peer (Telethon, and the bulk helper of Elasticsearch's
# own client) keeps nothing. The memory is the process's largest resident set (VmHWM).

messages=${1:-100000}
[[ $messages =~ ^[0-9]+$ ]] && [ "$messages" -ge 1000 ] || stop "$messages is no number of messages from 1000 on"
ask() { "$psql" -qtAX "$DATABASE_URL" -c "$1"; }
seconds_since() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.2f", to - from }'; }
per_second() { awk -v count="$1" -v seconds="$2" 'BEGIN { printf "%.0f", count / seconds }'; }

serve_messages() { # COUNT
    local chat
    world=$stage/world.toml
    {
        printf 'seed = 7\n'
        for chat in 1 2 3 4; do
            printf '[[chat]]\nkind = "supergroup"\ntitle = "Bench %s"\nmessages = %s\ndeleted = 0.0\n' "$chat" $(($1 / 4))
            printf 'languages = ["english", "russian", "chinese", "spanish"]\n'
        done
    } >"$world"
    start_simulator
    telekeep-simulator account bench --control "$control" --output "$stage/bench.session"
}

end_simulator() {
    end_process "$simulator" TERM
    wait "$simulator" 2>/dev/null || true
    simulator=''
}

# Sets seconds, rss_mib.
measure_telekeep() { # COUNT
    local chat start left
    configure 30
    serve_messages "$1"
    telekeep migrate
    telekeep account import "$stage/bench.session"
    cp "$root/workflows/new-chat.toml" "$stage/workflows/"
    # A watched chat starts the workflow: its jobs wait for a worker.
    for chat in $(ask_simulator /chats | jq '.[].chat_id'); do telekeep chat watch "$chat"; done
    [ "$(ask "select count(*) from workflow_run where state = 'running'")" -eq 4 ] || fail "the workflow did not start for four chats"
    start=$(date +%s.%N)
    TELEKEEP_LOG=warn telekeep run >"$stage/worker.log" 2>&1 8>&- 3>&- &
    worker=$!
    while :; do
        worker_lives
        left=$(ask "select (select count(*) from workflow_run where state = 'running') + (select count(*) from outbox)")
        [ "$left" -gt 0 ] || break
        sleep 0.2
    done
    seconds=$(seconds_since "$start")
    rss_mib=$(awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$worker/status")
    end_process "$worker" TERM
    wait "$worker" 2>/dev/null || true
    worker=''
    for chat in $(ask_simulator /chats | jq '.[].chat_id'); do
        telekeep export "$chat" --from index >"$stage/index.ndjson"
        telekeep-simulator compare --control "$control" "$stage/index.ndjson" || fail "the index is not what the datacentre holds"
    done
}

# Sets peer_seconds, peer_rss_mib; nothing where Python or its packages are not to be had.
measure_peer() { # COUNT
    local python=$state/tools/bench/bin/python index_name=${prefix}-peer told
    peer_seconds='' peer_rss_mib=''
    if ! [ -x "$python" ] || ! "$python" -c 'import telethon, elasticsearch, aiohttp, cryptg' 2>/dev/null; then
        python3 -m venv "$state/tools/bench" >"$stage/peer.log" 2>&1 &&
            "$state/tools/bench/bin/pip" install --quiet telethon==1.45.0 cryptg==0.6.0 'elasticsearch[async]==9.5.1' >>"$stage/peer.log" 2>&1 ||
            { note "NOT measured: the peer; it needs python3 with venv, and the packages telethon, cryptg and elasticsearch"; return 0; }
    fi
    curl -fsS --noproxy '*' -o /dev/null -X DELETE "$ELASTICSEARCH_URL/$index_name?ignore_unavailable=true"
    told=$("$python" "$root/benches/telethon_to_elasticsearch.py" "$stage/bench.session" "$ELASTICSEARCH_URL" "$index_name" 8>&- 3>&-)
    curl -fsS --noproxy '*' -o /dev/null -X DELETE "$ELASTICSEARCH_URL/$index_name?ignore_unavailable=true"
    [ "$(jq .documents <<<"$told")" -eq "$1" ] || fail "the peer wrote other documents than the datacentre holds: $told"
    peer_seconds=$(jq .seconds <<<"$told") peer_rss_mib=$(jq .rss_mib <<<"$told")
}

line() { printf '%-44s %9s %8s %8s %7s %9s %7s\n' "$@" >&3; }
row() { # NAME COUNT SECONDS RSS
    line "$1" "$2" "$3" "$(per_second "$2" "$3")" \
        "$(awk -v a="$2" -v b="$3" -v c="$messages" -v d="$seconds" 'BEGIN { printf "%.2f", (a / b) / (c / d) }')" \
        "$4" "$(awk -v a="$4" -v b="$rss_mib" 'BEGIN { printf "%.2f", a / b }')"
}

build --release
quarter=$((messages / 16 * 4)) messages=$((messages / 4 * 4))
head_line "Telekeep, $quarter messages"
measure_telekeep "$quarter"
quarter_seconds=$seconds quarter_rss_mib=$rss_mib
end_simulator
head_line "Telekeep, $messages messages"
measure_telekeep "$messages"
head_line "Telethon and Elasticsearch's client, $messages messages"
measure_peer "$messages"
end_simulator

line "" messages seconds "docs/s" ratio "peak MiB" ratio
row "telekeep" "$messages" "$seconds" "$rss_mib"
row "telekeep, a quarter of the messages" "$quarter" "$quarter_seconds" "$quarter_rss_mib"
[ -z "$peer_seconds" ] || row "Telethon 1.45, Elasticsearch's bulk helper" "$messages" "$peer_seconds" "$peer_rss_mib"
jq -nc --argjson docs "$(per_second "$messages" "$seconds")" --argjson rss "$rss_mib" '{docs_per_s: $docs, rss_mib: $rss}' >&3
