# 1 GiB from a simulated datacentre into the store: Telekeep beside Telethon (cryptg) and kurigram (TgCrypto), in turn, and beside what
# decryption and hashing let one core do. Run by scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# Each reads the same file from the same simulator (no floods, no latency, no limit of speed), over as many connections as it likes.
# Telekeep proves each part by Telegram's hashes, makes its position durable, hashes the whole and keeps it by content; the peers write a
# file. Datacentre and client share the machine's cores: the CPU seconds of both tell what was waited for. The memory is what the largest
# resident set grew by from the moment before the download.

rounds=${1:-3}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || stop "$rounds is no number of rounds"
size=1073741824
ask() { "$psql" -qtAX "$DATABASE_URL" -c "$1"; }
# CPU seconds that a process took so far; a tick is 10 ms (getconf CLK_TCK).
cpu() { awk '{ sub(/.*\) /, ""); print ($12 + $13) / 100 }' "/proc/$1/stat"; }
high_water() { awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$worker/status"; }

build --release
head_line "The bound"
(cd "$root" && cargo build --release --locked -q -p telekeep-simulator --example bound 8>&- 3>&-)
results=$stage/results.ndjson
: >"$results"

world=$stage/world.toml
cat >"$world" <<'TOML'
seed = 7
[[chat]]
kind = "channel"
title = "A gigabyte"
username = "depot"
messages = 2
media = { photos = 0, documents = 1, document_bytes = [1073741824, 1073741824], stickers = 0, voices = 0, videos = 0, animations = 0 }
TOML
start_simulator
telekeep-simulator account bench --control "$control" --output "$stage/bench.session"
chat=$(ask_simulator /chats | jq '.[0].chat_id')
truth=$(ask_simulator "/chats/$chat/files" | head -n 1 | jq -r .sha256)

measure_telekeep() {
    local idle seconds
    configure 30
    printf '[files]\nstore = "%s"\n' "$stage/store" >>"$stage/telekeep.toml"
    rm -rf "$stage/store"
    telekeep migrate >/dev/null
    telekeep account import "$stage/bench.session" >/dev/null
    # No rules: nothing is fetched yet.
    telekeep collect "$chat" >/dev/null
    TELEKEEP_LOG=warn telekeep run >"$stage/worker.log" 2>&1 8>&- 3>&- &
    worker=$!
    sleep 5
    idle=$(high_water) own=$(cpu "$worker")
    telekeep file want --chat "$chat" >/dev/null
    while [ "$(ask "select count(*) from media where state = 'stored'")" -lt 1 ]; do worker_lives; sleep 1; done
    own=$(awk -v now="$(cpu "$worker")" -v before="$own" 'BEGIN { print now - before }')
    seconds=$(ask "select round(extract(epoch from m.state_at - f.begun_at), 3) from media m join file f on f.media = m.id where m.state = 'stored'")
    jq -nc --argjson seconds "$seconds" --argjson bytes "$size" --argjson high "$(high_water)" --argjson idle "$idle" --argjson own "$own" \
        --argjson right "$([ "$(ask "select encode(sha256, 'hex') from media where state = 'stored'")" = "$truth" ] && echo true || echo false)" \
        '{name: "telekeep", $seconds, $bytes, $right, cpu_s: $own, rss_mib: (($high - $idle) * 10 | round / 10)}' >"$stage/told.json"
    end_process "$worker" TERM
    wait "$worker" 2>/dev/null || true
    worker=''
    rm -rf "$stage/store"
}

for ((number = 1; number <= rounds; number++)); do
    head_line "Round $number of $rounds"
    bound=$("$programs/examples/bound")
    jq -c '{name: "bound", mb_per_s}' <<<"$bound" >>"$results"
    note "one core: $bound"
    for name in telekeep telethon kurigram; do
        served=$(cpu "$simulator")
        if [ "$name" = telekeep ]; then
            measure_telekeep
        else
            "$TELEKEEP_PYTHON" "$root/benches/download_peer.py" "$name" "$stage/bench.session" "$control" "$stage" \
                >"$stage/told.json" 8>&- 3>&- || fail "$name did not download the file"
        fi
        note "$(cat "$stage/told.json")"
        jq -e '.right' "$stage/told.json" >/dev/null || fail "$name has other bytes than the datacentre"
        jq -c --argjson served "$(awk -v now="$(cpu "$simulator")" -v before="$served" 'BEGIN { print now - before }')" \
            '. + {mb_per_s: (.bytes / 1e6 / .seconds), served_s: $served}' "$stage/told.json" >>"$results"
    done
done

# shellcheck disable=SC2016 # jq's own variables
summary='def median: sort | .[length / 2 | floor]; def of($name): map(select(.name == $name)); def speed($name): of($name) | map(.mb_per_s) | median;'
line() { printf '%-34s %10s %10s %10s %12s %14s %10s %18s\n' "$@" >&3; }
line "1 GiB, median of $rounds rounds" MB/s lowest highest "telekeep/…" "MiB above idle" "CPU s" "datacentre's CPU s"
jq -rs "$summary"'. as $all | [["Telekeep", "telekeep"], ["Telethon, cryptg", "telethon"], ["kurigram, TgCrypto", "kurigram"], ["bound of one core", "bound"]][]
    as [$title, $name] | ($all | of($name)) as $own
    | [$title, ($own | map(.mb_per_s) | median), ($own | map(.mb_per_s) | min), ($own | map(.mb_per_s) | max),
       (($all | speed("telekeep")) / ($all | speed($name))), ($own | map(.rss_mib // 0) | max),
       ($own | map(.cpu_s // 0) | median), ($own | map(.served_s // 0) | median)]
    | [.[0]] + (.[1:] | map(. * 100 | round / 100)) | @tsv' "$results" |
    while IFS=$'\t' read -r title speed lowest highest ratio rss own served; do
        line "$title" "$speed" "$lowest" "$highest" "$ratio" "$rss" "$own" "$served"
    done
jq -cs "$summary"'def two: . * 100 | round / 100; {mb_per_s: (speed("telekeep") | two),
    ratio_telethon: (speed("telekeep") / speed("telethon") | two), ratio_kurigram: (speed("telekeep") / speed("kurigram") | two),
    ratio_bound: (speed("telekeep") / speed("bound") | two), rss_mib: (of("telekeep") | map(.rss_mib) | max)}' "$results" >&3
