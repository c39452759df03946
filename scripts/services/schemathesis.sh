#!/usr/bin/env bash
# Asks a running server what schemathesis makes of its own description: no failure of ours, no answer that is not described.
#
# usage: scripts/services/schemathesis.sh ADDRESS TOKEN [PYTHON]
# ADDRESS as http://127.0.0.1:8420; TOKEN of an admin of an installation that holds nothing of value: it is changed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
address=${1:?the address of a server} token=${2:?a token} python=${3:-python3}
folder=$root/.telekeep/schemathesis
wanted=$("$python" --version; cat "$root/tests/python/schemathesis.txt")
if [ ! -x "$folder/bin/schemathesis" ] || [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/tests/python/schemathesis.txt"
    printf '%s\n' "$wanted" >"$folder/installed"
fi
# One worker: CPython 3.11 may fail to parse code in two threads, as Hypothesis does when it describes its strategies.
# Streams never end, and a sign-in asks Telegram: both have tests of their own. What it finds is the same each time.
cd "$folder" # it keeps what it found beside itself
exec "$folder/bin/schemathesis" run "$address/api/v1/openapi.json" \
    --header "Authorization: Bearer $token" \
    --exclude-path /api/v1/events --exclude-path-regex '^/api/v1/sign-ins' \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases examples,coverage,fuzzing --max-examples 20 --seed 7 --workers 1 --request-timeout 30 --no-color
