# A private Elasticsearch for this checkout. Sourced by scripts/up and scripts/down.
# shellcheck shell=bash disable=SC2154
#
# The real server, as Maven Central carries it: one node, 127.0.0.1 only, security off.

elasticsearch_for_java() { # MAJOR
    if [ "$1" -ge 21 ]; then echo 9.2.4; else echo 8.19.16; fi
}

elasticsearch_is_unpacked() {
    local found
    found=$(find_java) && [ -f "$data/elasticsearch-$(elasticsearch_for_java "${found%% *}")/.complete" ]
}

elasticsearch_runs() {
    local pid port
    pid=$(recorded_process elasticsearch) && port=$(cat "$run/elasticsearch.port" 2>/dev/null) &&
        elasticsearch_is_healthy "$port"
}

elasticsearch_is_healthy() { # PORT
    curl -fsS --noproxy '*' -m 5 -o /dev/null "http://127.0.0.1:$1/_cluster/health" 2>/dev/null
}

# Fetches the archive of a version with Maven, once.
fetch_elasticsearch() { # VERSION
    local archive=$state/downloads/elasticsearch-$1.zip
    [ -f "$archive" ] && unzip -tqq "$archive" >/dev/null 2>&1 && return 0
    rm -f "$archive"
    say "fetching Elasticsearch $1 with Maven (about 100 MB, once)"
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        -Dartifact="org.elasticsearch.distribution.integ-test-zip:elasticsearch:$1:zip" \
        -DoutputDirectory="$state/downloads" >"$run/maven.log" 2>&1 </dev/null 9>&- 3>&- &
    watch_process $! "fetching Elasticsearch" ||
        { tail -n 5 "$run/maven.log" >&2; stop "Maven could not fetch Elasticsearch; see $run/maven.log" \
            "With an Elasticsearch of your own, set ELASTICSEARCH_URL."; }
    [ -f "$archive" ] || stop "Maven ended well, but $archive is not there"
}

unpack_elasticsearch() { # VERSION HOME
    local parts=$data/unpacking
    fetch_elasticsearch "$1"
    rm -rf "$parts" "$2"
    mkdir -p "$parts"
    unzip -q "$state/downloads/elasticsearch-$1.zip" -d "$parts" || stop "the archive of Elasticsearch is damaged" \
        "Remove it and try again: rm '$state/downloads/elasticsearch-$1.zip'"
    mv "$parts"/elasticsearch-* "$2"
    rm -rf "$parts"
    chmod +x "$2"/bin/* # the archive has lost these bits
    touch "$2/.complete"
}

start_elasticsearch() {
    local java version home port transport pid log start=$SECONDS
    if elasticsearch_runs; then
        say "Elasticsearch runs already"
        printf 'http://127.0.0.1:%s\n' "$(cat "$run/elasticsearch.port")"
        return 0
    fi
    if pid=$(recorded_process elasticsearch); then
        say "Elasticsearch (process $pid) does not answer; starting it anew"
        stop_elasticsearch
    fi
    java=$(find_java) || stop "no Java of version 17 or newer was found"
    version=$(elasticsearch_for_java "${java%% *}")
    home=$data/elasticsearch-$version
    [ -f "$home/.complete" ] || unpack_elasticsearch "$version" "$home"

    port=$(free_port elasticsearch)
    transport=$(free_port elasticsearch-transport)
    log=$data/log/telekeep-development.log
    cat >"$home/config/elasticsearch.yml" <<CONFIG
cluster.name: telekeep-development
discovery.type: single-node
xpack.security.enabled: false
network.host: 127.0.0.1
http.port: $port
transport.port: $transport
path.data: "$data/elasticsearch-data-$version"
path.logs: "$data/log"
# A disk that is nearly full is no reason for a development server to refuse writing.
cluster.routing.allocation.disk.threshold_enabled: false
CONFIG
    mkdir -p "$data/elasticsearch-data-$version"
    rm -f "$home/telekeep.pid"
    if [ "$(id -u)" -eq 0 ]; then chown -R "$(service_user):" "$home" "$data/elasticsearch-data-$version"; fi
    as_service env ES_JAVA_HOME="${java#* }" ES_JAVA_OPTS="${ES_JAVA_OPTS:--Xms512m -Xmx512m}" \
        "$home/bin/elasticsearch" -d -p "$home/telekeep.pid" </dev/null >"$run/elasticsearch.log" 2>&1 &
    watch_process $! "starting Elasticsearch $version on Java ${java%% *}" ||
        { tail -n 5 "$run/elasticsearch.log" >&2; stop "Elasticsearch did not start; see $run/elasticsearch.log and $log"; }
    pid=$(cat "$home/telekeep.pid" 2>/dev/null) || stop "Elasticsearch left no process id; see $run/elasticsearch.log"
    record_process elasticsearch "$pid"
    while ! elasticsearch_is_healthy "$port"; do
        recorded_process elasticsearch >/dev/null || stop "Elasticsearch ended; see the logs in $data/log"
        [ $((SECONDS - start)) -lt 180 ] || stop "Elasticsearch does not answer on port $port; see the logs in $data/log"
        sleep 0.5
    done
    say "Elasticsearch $version is ready on port $port after $((SECONDS - start)) s"
    printf 'http://127.0.0.1:%s\n' "$port"
}

stop_elasticsearch() {
    local pid
    pid=$(recorded_process elasticsearch) || { rm -f "$run/elasticsearch.pid"; return 1; }
    end_process "$pid" TERM
    rm -f "$run/elasticsearch.pid"
}
