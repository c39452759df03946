# A private Postgres for this checkout. Sourced by scripts/up and scripts/down.
# shellcheck shell=bash disable=SC2154
#
# It listens on 127.0.0.1 only and trusts every local user: a development server.
# No Unix socket: the path of a deep checkout would be too long for one.

postgres_url() { # PORT
    printf 'postgres://postgres@127.0.0.1:%s/telekeep\n' "$1"
}

postgres_runs() {
    local pid port
    pid=$(recorded_process postgres) && port=$(cat "$run/postgres.port" 2>/dev/null) && answers "$port"
}

start_postgres() {
    local programs port log=$data/log/postgres.log folder=$data/postgres start=$SECONDS
    if postgres_runs; then
        say "Postgres runs already"
        postgres_url "$(cat "$run/postgres.port")"
        return 0
    fi
    programs=$(postgres_programs) || stop "no Postgres server was found that fits $folder"
    if [ ! -f "$folder/PG_VERSION" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        if [ "$(id -u)" -eq 0 ]; then chown "$(service_user):" "$folder"; fi
        as_service "$programs/initdb" -D "$folder" -U postgres --auth=trust --encoding=UTF8 \
            --locale=C.UTF-8 >"$run/initdb.log" 2>&1 ||
            { tail -n 5 "$run/initdb.log" >&2; rm -rf "$folder"; stop "initdb failed; see $run/initdb.log"; }
    elif [ "$(id -u)" -eq 0 ]; then
        chown -R "$(service_user):" "$folder"
    fi
    port=$(free_port postgres)
    as_service "$programs/pg_ctl" start -w -t 60 -s -D "$folder" -l "$log" -o \
        "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200" \
        >"$run/pg_ctl.log" 2>&1 ||
        { tail -n 5 "$run/pg_ctl.log" "$log" >&2; stop "Postgres did not start; see $log"; }
    record_process postgres "$(head -n 1 "$folder/postmaster.pid")"
    "$programs/psql" -h 127.0.0.1 -p "$port" -U postgres -d postgres -tAc \
        "select 1 from pg_database where datname = 'telekeep'" 2>/dev/null | grep -q 1 ||
        "$programs/createdb" -h 127.0.0.1 -p "$port" -U postgres telekeep >&2 ||
        stop "the database telekeep could not be created; see $log"
    say "Postgres $("$programs/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/') is ready on port $port after $((SECONDS - start)) s"
    postgres_url "$port"
}

stop_postgres() {
    local pid programs
    pid=$(recorded_process postgres) || { rm -f "$run/postgres.pid"; return 1; }
    programs=$(postgres_programs) && as_service "$programs/pg_ctl" stop -s -w -m fast -D "$data/postgres" >&2 ||
        end_process "$pid" INT
    rm -f "$run/postgres.pid"
}
