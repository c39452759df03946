#!/usr/bin/env bash
# Makes the secret files of compose/compose.yaml, once: passwords at random, the addresses that hold them, and an empty file for
# Telegram's api_hash. What is there stays.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077
mkdir -p secrets
chmod 700 secrets

# The folder, which its owner alone may enter, keeps everybody else out. The files are readable by all behind it, because containers
# read them through a bind mount as users of their own (Postgres 999, Grafana 472, Telekeep 10001), and writable by their owner.
make_secret() { # NAME TEXT
    [ -e "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"
    chmod 644 "secrets/$1"
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

make_secret postgres_password "$(random)"
make_secret database_url "postgres://telekeep:$(cat secrets/postgres_password)@postgres:5432/telekeep"
make_secret grafana_password "$(random)"
make_secret telegram_api_hash ""
printf 'the secrets are in %s/secrets; Grafana is entered as admin with the password in grafana_password\n' "$PWD" >&2
[ -s secrets/telegram_api_hash ] || printf 'write the api_hash of https://my.telegram.org into secrets/telegram_api_hash\n' >&2
