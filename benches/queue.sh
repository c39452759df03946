# Our queue beside its peers: one run, interleaved, the median of several rounds. Run by scripts/bench.
# shellcheck shell=bash disable=SC2154
#
# The same Postgres for all, a fresh database for each measurement, its own durability untouched. Ours runs with its
# defaults on: the attempt log, the counts, fairness over 100 partitions, fenced outcomes. Each runs with as many workers
# and connections as its own documentation likes best; the table says how many.

# shellcheck source=benches/queue/peers.sh
source "$root/benches/queue/peers.sh"

rounds=${1:-5}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || stop "$rounds is no number of rounds"
results=$stage/results.ndjson
prepare_psql
head_line "Build"
(cd "$root" && cargo build --release --locked -q -p telekeep-queue --example measure 8>&- 3>&-)
measure=$(cd "$root" && cargo metadata --format-version 1 --no-deps --locked | jq -r .target_directory)/release/examples/measure
prepare_peers "$state/tools/queue"

# Runs one measurement in a database of its own and keeps what it printed.
run_once() { # ROW NAME MODE ARGUMENT…
    local row=$1 name=$2 database=telekeep_bench_queue told url
    shift 2
    if [ "$name" != ours ] && [[ " ${peers[*]} " != *" $name "* ]]; then return 0; fi
    "$psql" -q "$server" -c 'set client_min_messages = warning' -c "drop database if exists $database with (force)" -c "create database $database"
    url=${server%%\?*} url=${url%/*}/$database
    if [ "$name" = ours ]; then
        told=$(DATABASE_URL=$url "$measure" "$@" 8>&- 3>&-) || { note "$row: $name failed"; return 0; }
    else
        told=$(DATABASE_URL=$url run_peer "$name" "$@" 8>&- 3>&-) || { note "$row: $name failed"; return 0; }
    fi
    note "$row: $name: $told"
    jq -c --arg row "$row" --arg name "$name" '. + {row: $row, name: $name}' <<<"$told" >>"$results"
}

round() {
    run_once noop ours noop --jobs 60000 --workers 1000 --connections 10
    run_once noop river noop --jobs 60000 --workers 1000 --connections 10
    run_once noop graphile-batched noop --jobs 60000 --workers 24 --connections 25
    run_once noop ceiling noop --jobs 60000 --workers 8 --connections 10
    run_once noop-100 ours noop --jobs 30000 --workers 100 --connections 10
    run_once noop-100 river noop --jobs 30000 --workers 100 --connections 10
    run_once noop graphile-default noop --jobs 5000 --workers 24 --connections 25
    run_once noop procrastinate noop --jobs 1000 --workers 20 --connections 20
    run_once write ours write --jobs 5000 --workers 100 --connections 10
    run_once write river write --jobs 5000 --workers 100 --connections 10
    run_once write ceiling write --jobs 5000 --workers 10 --connections 10
    run_once enqueue ours enqueue --jobs 100000
    run_once enqueue-unique ours enqueue --jobs 100000 --unique
    run_once enqueue river enqueue --jobs 100000
    run_once latency ours latency --jobs 300 --gap-ms 20 --workers 24 --connections 25
    run_once latency graphile-default latency --jobs 300 --gap-ms 20 --workers 24 --connections 25
    run_once latency river latency --jobs 300 --gap-ms 20 --workers 24 --connections 25
}

: >"$results"
for ((number = 1; number <= rounds; number++)); do
    head_line "Round $number of $rounds"
    round
done
head_line "1,000,000 jobs queued, of which 900,000 may not start"
run_once backlog ours backlog --jobs 1000000 --workers 100 --connections 10

# shellcheck disable=SC2016 # jq's own variables
summary='
def median: sort | if length == 0 then null else .[(length / 2 | floor)] end;
def value($row; $name; $field): [.[] | select(.row == $row and .name == $name) | .[$field]] | median;
def rounded: if . == null then null else (. * 100 | round) / 100 end;
def over($a; $b): if $a == null or $b == null then null else ($a / $b | rounded) end;
'
line() { printf '%-16s %-18s %8s %6s %12s %8s\n' "$@" >&3; }
line "" "" workers conns "jobs/s" "to ours"
jq -rs "$summary"' . as $all
    | [["noop", "ours"], ["noop", "river"], ["noop", "graphile-batched"], ["noop", "graphile-default"], ["noop", "procrastinate"],
       ["noop", "ceiling"], ["noop-100", "ours"], ["noop-100", "river"], ["write", "ours"], ["write", "river"], ["write", "ceiling"],
       ["enqueue", "ours"], ["enqueue", "river"], ["enqueue-unique", "ours"]][]
    | . as [$row, $name]
    | ([$all[] | select(.row == $row and .name == $name)][0]) as $one | select($one != null)
    | ($all | value($row; $name; "jobs_per_s")) as $rate
    | [$row, $name, ($one.workers // "-"), ($one.connections // "-"), ($rate | round),
       over($rate; $all | value(if $row == "enqueue-unique" then "enqueue" else $row end; "ours"; "jobs_per_s"))] | @tsv' "$results" |
    while IFS=$'\t' read -r row name workers connections rate ratio; do line "$row" "$name" "$workers" "$connections" "$rate" "$ratio"; done
printf '\n%-16s %-18s %8s %8s\n' latency "" "p50 ms" "p99 ms" >&3
for name in ours graphile-default river; do
    jq -rs --arg name "$name" "$summary"'[(value("latency"; $name; "p50_ms") | rounded), (value("latency"; $name; "p99_ms") | rounded)] | @tsv' "$results" |
        while IFS=$'\t' read -r p50 p99; do printf '%-16s %-18s %8s %8s\n' "" "$name" "$p50" "$p99" >&3; done
done
jq -rs "$summary"'.[] | select(.row == "backlog") | "\nbacklog: \(.claims) claims beside 900,000 jobs that may not start: p50 \(.claim_p50_ms | rounded) ms, p99 \(.claim_p99_ms | rounded) ms; \(.rss_mib | rounded) MiB"' "$results" >&3
jq -cs "$summary"' . as $all | def rate($name): $all | value("noop"; $name; "jobs_per_s");
    (rate("ours")) as $ours | {
        jobs_per_s: ($ours | round),
        ratio_graphile_default: over($ours; rate("graphile-default")), ratio_graphile_batched: over($ours; rate("graphile-batched")),
        ratio_river: over($ours; rate("river")),
        enqueue_ratio_river: over($all | value("enqueue"; "ours"; "jobs_per_s"); $all | value("enqueue"; "river"; "jobs_per_s")),
        ratio_procrastinate: over($ours; rate("procrastinate")), ratio_ceiling: over($ours; rate("ceiling")),
        latency_ratio_p50: over($all | value("latency"; "ours"; "p50_ms"); $all | value("latency"; "graphile-default"; "p50_ms")),
        latency_ratio_p99: over($all | value("latency"; "ours"; "p99_ms"); $all | value("latency"; "graphile-default"; "p99_ms")),
        claim_p99_ms: ($all | value("backlog"; "ours"; "claim_p99_ms") | rounded), rss_mib: ($all | value("backlog"; "ours"; "rss_mib") | rounded) }' "$results" >&3
