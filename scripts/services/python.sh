# A private Python with clients of other authors, which the tests judge the simulator by. Sourced by scripts/up.
# shellcheck shell=bash disable=SC2154

python_lists=$root/crates/simulator/tests/python

# The newest Python that the clients run on and that can make environments.
find_python() {
    local program
    for program in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$program" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$program"
            return 0
        fi
    done
    return 1
}

# Makes the environment if its lists or the Python have changed, and prints its python.
prepare_python() {
    local folder=$state/python python wanted package start=$SECONDS
    python=$(find_python) || stop "Python 3.10 or newer with venv is missing; install it: apt-get install -y python3 python3-venv"
    wanted=$("$python" --version; cat "$python_lists"/{requirements,faster}.txt)
    if [ ! -x "$folder/bin/python" ] || [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
        say "making the private Python for Telethon and kurigram"
        rm -rf "$folder"
        {
            "$python" -m venv "$folder" &&
                "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$python_lists/requirements.txt"
        } >"$run/python.log" 2>&1 9>&- 3>&- ||
            { tail -n 5 "$run/python.log" >&2; rm -rf "$folder"; stop "the private Python could not be made; see $run/python.log"; }
        while read -r package; do
            [[ $package != '#'* ]] || continue
            "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$package" \
                >>"$run/python.log" 2>&1 9>&- 3>&- ||
                say "no ready-made $package for this machine: the clients are slower without it"
        done <"$python_lists/faster.txt"
        printf '%s\n' "$wanted" >"$folder/installed"
        say "the private Python is ready after $((SECONDS - start)) s"
    fi
    printf '%s\n' "$folder/bin/python"
}
