# The queues that ours is measured against, each a small program of its own. Sourced by scripts/bench.
# shellcheck shell=bash
#
# prepare_peers DIR          builds and installs below DIR; sets `peers` to those that can be measured
# run_peer NAME MODE ARG…    prints one line of JSON; DATABASE_URL is an empty database of the run's own
#
# NAME                              MODE
# river                             noop, write, enqueue, latency
# ceiling                           noop, write           (a bare SKIP LOCKED loop, no queue)
# graphile-default, -batched        noop, enqueue, latency
# procrastinate                     noop, enqueue, latency

peers=()
peers_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
peers_folder=

peer_says() { printf 'peers: %s\n' "$*" >&2; }

# Runs an installing step, at most 10 minutes; keeps what it says, and shows its end if it fails.
install_peer() { # NAME COMMAND…
    local name=$1 log=$peers_folder/$1.log
    shift
    if ! command -v "$1" >/dev/null; then
        peer_says "NOT measured: $name ($1 is missing)"
        return 1
    fi
    timeout 600 "$@" >"$log" 2>&1 </dev/null && return 0
    peer_says "NOT measured: $name (${*:1:3} … failed; see $log)"
    tail -n 3 "$log" >&2
    return 1
}

prepare_peers() { # DIR
    mkdir -p "$1/graphile"
    peers_folder=$(cd "$1" && pwd -P)
    peers=()

    peer_says "building river and the ceiling with Go"
    if install_peer river go build -C "$peers_source/river" -o "$peers_folder/river" .; then
        peers+=(river ceiling)
    fi

    peer_says "installing graphile-worker with npm"
    cp "$peers_source"/graphile/{package.json,package-lock.json,main.mjs} "$peers_folder/graphile/"
    if install_peer graphile npm ci --prefix "$peers_folder/graphile" --ignore-scripts --no-audit --no-fund; then
        peers+=(graphile-default graphile-batched)
    fi

    peer_says "installing procrastinate with pip, in a venv"
    if install_peer procrastinate python3 -m venv "$peers_folder/procrastinate" &&
        install_peer procrastinate "$peers_folder/procrastinate/bin/python" -m pip install --quiet \
            --disable-pip-version-check -r "$peers_source/procrastinate/requirements.txt"; then
        peers+=(procrastinate)
    fi
}

run_peer() { # NAME MODE ARG…
    local name=$1
    shift
    case $name in
        river | ceiling) "$peers_folder/river" "$name" "$@" ;;
        graphile-*) node "$peers_folder/graphile/main.mjs" "${name#graphile-}" "$@" ;;
        procrastinate) "$peers_folder/procrastinate/bin/python" "$peers_source/procrastinate/main.py" "$@" ;;
        *)
            peer_says "no peer is called $name"
            return 1
            ;;
    esac
}
