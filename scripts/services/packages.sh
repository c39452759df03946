# The programs that building and the servers need, and how they get onto a machine.
# Sourced by scripts/up. Reads: yes, want_postgres, want_elasticsearch, want_python, want_browser.
# shellcheck shell=bash disable=SC2154

min_cargo=1.95

# True if version $1 is at least $2, both MAJOR.MINOR or longer.
at_least() {
    local have_major have_minor want_major want_minor
    IFS=. read -r have_major have_minor _ <<<"$1"
    IFS=. read -r want_major want_minor _ <<<"$2"
    [ "$have_major" -gt "$want_major" ] ||
        { [ "$have_major" -eq "$want_major" ] && [ "${have_minor:-0}" -ge "$want_minor" ]; }
}

check_cargo() {
    local version
    PATH=$PATH:$HOME/.cargo/bin
    version=$(cargo --version 2>/dev/null | cut -d' ' -f2) || version=
    [ -n "$version" ] ||
        stop "cargo was not found; Telekeep needs Rust $min_cargo or newer." \
            "Install it with rustup: rustup toolchain install stable"
    at_least "$version" "$min_cargo" ||
        stop "cargo is $version; Telekeep needs $min_cargo or newer." \
            "Update it: rustup update stable"
}

# The folder with initdb and pg_ctl: that of the data's own version if there is data, else the newest.
postgres_programs() {
    local version='' folder
    [ ! -f "${data:-}/postgres/PG_VERSION" ] || version=$(cat "$data/postgres/PG_VERSION")
    while read -r folder; do
        [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ] || continue
        [ -z "$version" ] || [[ $("$folder/pg_ctl" --version) =~ \ ${version}(\.|[a-z]|$) ]] || continue
        printf '%s\n' "$folder"
        return 0
    done < <(
        find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -rV || true
        pg_config --bindir 2>/dev/null || true
        dirname "$(command -v initdb || echo /nonexistent/initdb)"
    )
    return 1
}

# Prints the major version of the Java in a home folder.
java_version() {
    local text
    [ -x "$1/bin/java" ] || return 1
    text=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$1/release" 2>/dev/null) || text=
    [ -n "$text" ] || text=$("$1/bin/java" -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p' | head -n 1)
    text=${text%%[!0-9]*}
    [ -n "$text" ] && printf '%s\n' "$text"
}

# Prints "VERSION HOME" of the Java to run Elasticsearch on: ES_JAVA_HOME, else the newest
# that a 9.x is known to run on (21 to 25), else 17 to 20, for an 8.x.
find_java() {
    local home version best='' found=0
    if [ -n "${ES_JAVA_HOME:-}" ]; then
        version=$(java_version "$ES_JAVA_HOME") ||
            stop "ES_JAVA_HOME is $ES_JAVA_HOME, where there is no bin/java." "Correct or unset it."
        [ "$version" -ge 17 ] ||
            stop "ES_JAVA_HOME is Java $version; Elasticsearch needs 17 or newer." "Correct or unset it."
        printf '%s %s\n' "$version" "$ES_JAVA_HOME"
        return 0
    fi
    while read -r home; do
        version=$(java_version "$home") || continue
        if [ "$version" -ge 17 ] && [ "$version" -le 25 ] && [ "$version" -gt "$found" ]; then
            found=$version best=$home
        fi
    done < <(
        find /usr/lib/jvm -mindepth 1 -maxdepth 1 2>/dev/null | sort || true
        printf '%s\n' "${JAVA_HOME:-/nonexistent}"
        program=$(readlink -f "$(command -v java || echo /nonexistent/bin/java)" || echo /nonexistent/bin/java)
        printf '%s\n' "${program%/bin/java}"
    )
    [ -n "$best" ] && printf '%s %s\n' "$found" "$best"
}

# Prints the Debian packages that are missing, one a line.
missing_packages() {
    command -v cc >/dev/null || echo build-essential
    command -v curl >/dev/null || echo curl
    command -v jq >/dev/null || echo jq
    if [ "$want_postgres" = yes ]; then
        postgres_programs >/dev/null || echo "postgresql${data_version:+-$data_version}"
    fi
    if [ "$want_elasticsearch" = yes ]; then
        find_java >/dev/null || echo "$java_package"
        command -v unzip >/dev/null || echo unzip
        command -v mvn >/dev/null || elasticsearch_is_unpacked || echo maven
    fi
    if [ "${want_python:-no}" = yes ]; then
        find_python >/dev/null || printf '%s\n' python3 python3-venv
        # Tests run nodes by false clocks.
        compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || echo libfaketime
        # promtool judges the alert rules.
        command -v promtool >/dev/null || echo prometheus
    fi
    if [ "${want_browser:-no}" = yes ]; then
        command -v chromium >/dev/null || echo chromium
        command -v chromedriver >/dev/null || echo chromium-driver
        command -v npm >/dev/null || echo npm
    fi
}

# Installs what is missing, after saying so and, on a terminal, asking.
install_packages() {
    local packages command answer become=() data_version='' java_package=openjdk-21-jre-headless
    if [ -f "${data:-}/postgres/PG_VERSION" ]; then data_version=$(cat "$data/postgres/PG_VERSION"); fi
    knows_package "$java_package" || java_package=openjdk-17-jre-headless
    packages=$(missing_packages | tr '\n' ' ')
    packages=${packages% }
    [ -n "$packages" ] || return 0

    [ "$(id -u)" -eq 0 ] || become=(sudo)
    command="${become[*]:+${become[*]} }apt-get update && ${become[*]:+${become[*]} }apt-get install -y --no-install-recommends $packages"
    if ! command -v apt-get >/dev/null; then
        stop "these are missing, named as Debian's packages: $packages" \
            "There is no apt-get here. Install their like with your system's package manager, then run this again."
    fi
    say "these packages of the system are missing: $packages"
    case " $packages" in *" postgresql"*)
        say "(Debian's postgresql may also set up a cluster of the system's own; Telekeep leaves it alone)" ;;
    esac
    if [ "$yes" != yes ]; then
        [ -t 0 ] && [ -t 2 ] ||
            stop "there is no terminal to ask at. Run this, or scripts/up --yes:" "    $command"
        printf '%s: install them now, with: %s\n%s: [y/N] ' "$script" "$command" "$script" >&2
        read -r answer </dev/tty || answer=
        case $answer in
        [yY]*) ;;
        *) stop "nothing was installed. To do it by hand:" "    $command" ;;
        esac
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            stop "only root can install packages, and there is no sudo. As root:" "    ${command//sudo /}"
        # Without a terminal sudo cannot ask for a password.
        if ! [ -t 2 ] && ! sudo -n true 2>/dev/null; then
            stop "sudo asks for a password, and there is no terminal. Run:" "    $command"
        fi
    fi

    local start=$SECONDS
    say "installing: $command"
    # shellcheck disable=SC2086 # a list of names
    { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends $packages; } \
        >"$run/packages.log" 2>&1 9>&- 3>&- ||
        { tail -n 5 "$run/packages.log" >&2; stop "the installation failed. By hand:" "    $command"; }
    say "installed in $((SECONDS - start)) s"
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] || stop "still missing after the installation: $packages"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# Before the first `apt-get update` of a machine its list may be empty: then the older name is chosen.
knows_package() {
    apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'
}
