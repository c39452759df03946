# Where this checkout keeps what its scripts start, and how they speak. Sourced, never run.
# shellcheck shell=bash
#
# .telekeep/            ignored by git
#   run/                a record of each server that was started here: pid, its start time, port
#   downloads/          the Elasticsearch archive
#   tools/              programs that scripts/test built for itself
#   python/             a private Python with the clients that judge the simulator
#   data/               the servers' files and logs, owned by the user they run as

shopt -s inherit_errexit 2>/dev/null || true # a failure inside $(…) is a failure (bash 4.4)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
state=$root/.telekeep
run=$state/run
script=${0##*/}

say() { printf '%s: %s\n' "$script" "$*" >&2; }

# A failure: what happened, and what to do, one line each.
stop() {
    local line
    for line in "$@"; do printf '%s: %s\n' "$script" "$line" >&2; done
    exit 1
}

prepare_state() {
    mkdir -p "$run" "$state/downloads" 2>/dev/null && [ -w "$state" ] && [ -w "$run" ] ||
        stop "$state cannot be written by $(id -un); it was made by another user." \
            "Remove it (rm -rf '$state'), or run this as that user."
}

# One script at a time changes the servers of this checkout; the lock is file descriptor 9.
lock_state() {
    command -v flock >/dev/null || return 0
    exec 9>"$state/lock"
    flock -n 9 && return 0
    say "another script is at work in this checkout; waiting for it"
    flock -w 900 9 || stop "it did not end within 15 minutes"
}

# Postgres and Elasticsearch refuse to run as root: then they run as an ordinary user.
service_user() {
    if [ "$(id -u)" -ne 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a command as the servers' user, without the locks, in a folder that user can enter.
as_service() (
    cd /
    exec 9>&- 8>&- 3>&-
    if [ "$(id -u)" -ne 0 ]; then
        exec "$@"
    else
        exec runuser -u "$(service_user)" -- "$@"
    fi
)

# Where the servers' files are: in the checkout, or, where their user cannot enter it, in /var/tmp.
find_data() {
    data=$state/data
    if [ -f "$run/data" ]; then
        data=$(cat "$run/data")
    elif [ "$(id -u)" -eq 0 ] && ! as_service test -x "$state"; then
        data=/var/tmp/telekeep-$(printf %s "$root" | cksum | cut -d' ' -f1)
        say "the user $(service_user) cannot enter $state: data goes to $data"
    fi
}

prepare_data() {
    local user
    user=$(service_user)
    find_data
    [ ! -L "$data" ] || stop "$data is a link; remove it"
    mkdir -p "$data"
    [ -O "$data" ] || as_service test -O "$data" || stop "$data belongs to another user; remove it"
    mkdir -p "$data/log"
    if [ "$(id -u)" -eq 0 ]; then
        chown "$user": "$data" "$data/log"
    fi
    chmod 700 "$data"
    printf '%s\n' "$data" >"$run/data"
}

# When a process began: tells a process of ours from a later one with the same id.
began() {
    if [ -r "/proc/$1/stat" ]; then
        sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20
    else
        ps -o lstart= -p "$1" 2>/dev/null
    fi
}

record_process() { # NAME PID
    printf '%s\n%s\n' "$2" "$(began "$2")" >"$run/$1.pid"
}

# Prints the id of the recorded server if that very process still lives.
recorded_process() { # NAME
    local pid since
    [ -f "$run/$1.pid" ] || return 1
    { read -r pid && read -r since; } <"$run/$1.pid" || return 1
    [ -n "$pid" ] && [ "$(began "$pid")" = "$since" ] || return 1
    printf '%s\n' "$pid"
}

answers() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Whether another server of this checkout has the port in its record.
taken() { # NAME PORT
    local file
    for file in "$run"/*.port; do
        [ "$file" = "$run/$1.port" ] || ! grep -qx "$2" "$file" 2>/dev/null || return 0
    done
    return 1
}

# The port recorded under NAME if it is free, else another one, which is recorded.
# Below 32768, where systems begin to hand out ports by themselves.
free_port() { # NAME
    local port
    port=$(cat "$run/$1.port" 2>/dev/null) || port=
    while [ -z "$port" ] || answers "$port" || taken "$1" "$port"; do
        port=$((20000 + RANDOM % 12000))
    done
    printf '%s\n' "$port" >"$run/$1.port"
    printf '%s\n' "$port"
}

# Waits for a background process and counts the seconds. Gives its exit code.
watch_process() { # PID TEXT
    local start=$SECONDS shown=-1 now
    while kill -0 "$1" 2>/dev/null; do
        now=$((SECONDS - start))
        if [ -t 2 ]; then
            printf '\r%s: %s … %d s ' "$script" "$2" "$now" >&2
        elif [ $((now / 10)) -ne "$shown" ]; then
            shown=$((now / 10))
            say "$2 … $now s"
        fi
        sleep 0.5
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    wait "$1"
}

# Ends a process: a signal, half a minute to go, then SIGKILL.
end_process() { # PID SIGNAL
    local start=$SECONDS
    kill "-$2" "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do
        if [ $((SECONDS - start)) -ge 30 ]; then
            kill -KILL "$1" 2>/dev/null || return 0
        fi
        sleep 0.2
    done
}
