# The simulated datacentre alone, on one core, read by a client on another: messages/s, members/s, bytes/s, memory. Run by
# scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# The client (crates/simulator/examples/pull.rs) is grammers' own sender with calls in flight, which counts answers and does
# not interpret them. A busy machine takes time from both: the figures per second of the server's own computing say what a core
# of its own would give.

rounds=${1:-3}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || stop "$rounds is no number of rounds"
PATH=$PATH:$HOME/.cargo/bin
head_line "Build"
(cd "$root" && cargo build --release --locked -q -p telekeep-simulator --bins --example pull 8>&- 3>&-)
programs=$(cd "$root" && cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory)/release
PATH=$programs:$PATH

results=$stage/results.ndjson
world=$stage/world.toml
cat >"$world" <<'TOML'
seed = 7
[[chat]]
kind = "supergroup"
title = "A million messages"
username = "million"
messages = 1000000
members = 100000
[[chat]]
kind = "channel"
title = "A gigabyte"
username = "depot"
messages = 20
media = { photos = 0, documents = 1, document_bytes = [1073741824, 1073741824], stickers = 0, voices = 0, videos = 0, animations = 0 }
TOML

server_core='' client_core=()
if command -v taskset >/dev/null && [ "$(nproc)" -ge 2 ]; then
    server_core=0 client_core=(taskset -c 1)
else
    note "server and client share their cores: taskset is missing, or there is but one core"
fi
export TOKIO_WORKER_THREADS=1
start_simulator
[ -z "$server_core" ] || taskset -acp "$server_core" "$simulator" >/dev/null
telekeep-simulator account bench --control "$control" --output "$stage/bench.session"

: >"$results"
for ((number = 1; number <= rounds; number++)); do
    head_line "Round $number of $rounds"
    told=$("${client_core[@]}" "$programs/examples/pull" --session "$stage/bench.session" --pid "$simulator" 8>&- 3>&-)
    note "$told"
    printf '%s\n' "$told" >>"$results"
done
[ "$(jq -s '[.[] | .messages == 1000000 and .members == 10000 and .bytes == 1073741824] | all' "$results")" = true ] ||
    fail "the client was told less than there is"

# shellcheck disable=SC2016 # jq's own variables
summary='def median: sort | .[length / 2 | floor]; def values($field): map(.[$field]);'
line() { printf '%-34s %12s %12s %12s %16s\n' "$@" >&3; }
line "one core, median of $rounds rounds" "per s" lowest highest "per CPU second"
jq -rs "$summary"'[["history: messages", "messages_per_s", "messages_per_server_cpu_s"], ["participants: members", "members_per_s", null],
    ["getFile: bytes", "bytes_per_s", "bytes_per_server_cpu_s"]][] as [$name, $rate, $cpu]
    | [$name, (values($rate) | median), (values($rate) | min), (values($rate) | max), (if $cpu then values($cpu) | median else "-" end)]
    | @tsv' "$results" |
    while IFS=$'\t' read -r name rate lowest highest cpu; do line "$name" "$rate" "$lowest" "$highest" "$cpu"; done
jq -rs '"resident: \(.[0].idle_rss_mib) MiB before the first call, \(map(.rss_mib) | max) MiB at most"' "$results" >&3
jq -cs "$summary"'{messages_per_s: (values("messages_per_s") | median), bytes_per_s: (values("bytes_per_s") | median),
    rss_mib: (values("rss_mib") | max)}' "$results" >&3
