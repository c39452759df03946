# What tests of the pages need beside the browser: axe-core, which finds what people who see or move badly could not use.
# Sourced by scripts/up. Reads: root, run.
# shellcheck shell=bash disable=SC2154

axe_version=4.14.1

# Puts axe-core below .telekeep/axe, if another version or none is there.
prepare_axe() {
    local folder=$root/.telekeep/axe
    [ "$(jq -r .version "$folder/node_modules/axe-core/package.json" 2>/dev/null)" != "$axe_version" ] || return 0
    say "fetching axe-core $axe_version from npm"
    mkdir -p "$folder"
    npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts "axe-core@$axe_version" >"$run/axe.log" 2>&1 9>&- 3>&- ||
        { tail -n 5 "$run/axe.log" >&2; stop "axe-core could not be fetched; see $run/axe.log"; }
}
