//! Bad input: one clear message that names the place and the remedy; 2 for the user's mistake, 1 for a failure.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use sqlx::{ConnectOptions, PgPool};

/// A folder, and a database, of somebody who makes mistakes.
pub(crate) struct Somebody {
    folder: tempfile::TempDir,
    database: String,
}

impl Somebody {
    pub(crate) fn at(pool: &PgPool) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: pool.connect_options().to_url_lossy().to_string() }
    }

    pub(crate) fn writes(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What a command says, and its exit code.
    pub(crate) async fn is_told(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telekeep"));
        command.args(arguments).current_dir(self.folder.path()).env("DATABASE_URL", &self.database).env("TELEKEEP_LOG", "off");
        for name in ["ELASTICSEARCH_URL", "TELEKEEP_CONFIG", "TELEKEEP_API_ID", "TELEKEEP_API_HASH", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + String::from_utf8(output.stdout).unwrap().as_str();
        format!("{}\nexit {}", said.trim(), output.status.code().unwrap())
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn servers_that_are_not_there(pool: PgPool) {
    let somebody = Somebody::at(&pool);
    let away = [("DATABASE_URL", "postgres://somebody@127.0.0.1:1/telekeep")];
    assert_snapshot!(somebody.is_told(&["coverage"], &away).await, @r#"
    error: the database at 127.0.0.1:1/telekeep is not reachable: check that it runs and that DATABASE_URL names it
      because: error communicating with database: Connection refused (os error 111)
    exit 1
    "#);
    assert_snapshot!(somebody.is_told(&["coverage"], &[("DATABASE_URL", "telekeep")]).await, @r#"
    error: the database address is not valid: expected postgres://USER@HOST:PORT/NAME
      because: error with configuration: relative URL without a base
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["coverage"], &[("DATABASE_URL", "")]).await, @r#"
    error: no database is configured; set DATABASE_URL (as postgres://user@host:5432/telekeep) or database_url in telekeep.toml; `eval "$(scripts/up)"` starts one here
    exit 2
    "#);
    let away = [("ELASTICSEARCH_URL", "http://127.0.0.1:1")];
    assert_snapshot!(somebody.is_told(&["search", "word"], &away).await, @r#"
    error: Elasticsearch at http://127.0.0.1:1 does not answer: error sending request for url (http://127.0.0.1:1/telekeep-message/_search). Start it (scripts/up) or set ELASTICSEARCH_URL
      because: client error (Connect)
      because: tcp connect error
      because: Connection refused (os error 111)
    exit 1
    "#);
    assert_snapshot!(somebody.is_told(&["audit"], &[]).await, @r#"
    error: ELASTICSEARCH_URL is not set: there is no index; `eval "$(scripts/up)"` starts one here
    exit 2
    "#);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_schema_of_another_version(pool: PgPool) {
    let somebody = Somebody::at(&pool);
    sqlx::query("update _sqlx_migrations set version = 20990101000000 where version = 20261121000100")
        .execute(&pool)
        .await
        .unwrap();
    assert_snapshot!(somebody.is_told(&["coverage"], &[]).await, @r#"
    error: the schema is newer than this binary (migration 20990101000000 is unknown to it): install the newer telekeep
    exit 2
    "#);
    sqlx::query("delete from _sqlx_migrations where version = 20990101000000").execute(&pool).await.unwrap();
    assert_snapshot!(somebody.is_told(&["coverage"], &[]).await, @r#"
    error: the schema is older than this binary (1 migrations to run): run `telekeep migrate`
    exit 2
    "#);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn workflow_files_with_faults(pool: PgPool) {
    let somebody = Somebody::at(&pool);
    let good = include_str!("../../workflows/nightly-backfill.toml");
    somebody.writes("workflows/job.toml", &good.replace("\"history_fetch\"", "\"history_fech\""));
    somebody
        .writes("workflows/cycle.toml", &good.replace("job = \"chat_refresh\"", "job = \"chat_refresh\"\nafter = [\"history\"]"));
    somebody.writes("workflows/cron.toml", &good.replace("0 0 3 * * *", "0 0 3"));
    somebody.writes("workflows/key.toml", &good.replace("priority = 3", "prority = 3"));
    assert_snapshot!(somebody.is_told(&["workflow", "validate"], &[]).await, @r#"
    error: workflows/cron.toml:5: "0 0 3" is not a cron line; six fields, seconds first, as "0 0 3 * * *"
    workflows/cycle.toml:14: step "refresh" waits for itself: its `after` leads in a cycle; remove one of its links
    workflows/job.toml:19: unknown job "history_fech"; known are chat_refresh, history_fetch, count_sample, member_snapshot, avatar_download, file_download, chat_find, chat_join, chat_leave
    workflows/key.toml:22: unknown field `prority`, expected one of `name`, `job`, `after`, `priority`, `retry`, `spread`
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["workflow", "run", "nightly"], &[("TELEKEEP_WORKFLOWS", "empty")]).await, @r#"
    error: there is no workflow "nightly"; empty holds none
    exit 2
    "#);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn chats_sessions_and_keys(pool: PgPool) {
    let somebody = Somebody::at(&pool);
    assert_snapshot!(somebody.is_told(&["chat", "watch", "-1001"], &[]).await, @r#"
    error: no active account knows chat -1001; import an account that is a member (`telekeep account import`), or give the chat's public link
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["coverage", "no chat"], &[]).await, @r#"
    error: "no chat" names no chat; write it as https://t.me/NAME, @NAME, https://t.me/c/ID/MESSAGE or -1001234567890
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["account", "login"], &[]).await, @r#"
    error: no api_id or api_hash is configured; get both at https://my.telegram.org (API development tools), then set TELEKEEP_API_ID and TELEKEEP_API_HASH, or api_id and api_hash below [telegram] in telekeep.toml
    exit 2
    "#);
    somebody.writes("cut.json", "{\"dc\":2,\"addr");
    assert_snapshot!(somebody.is_told(&["account", "import", "cut.json"], &[]).await, @r#"
    error: the session file cut.json is damaged: it ends early at line 1, column 13. Write the file again (`telekeep-simulator account NAME`), or sign in with `telekeep account login`
    exit 2
    "#);
    let session = format!("{{\"dc\":2,\"address\":\"127.0.0.1\",\"port\":1,\"key\":\"{}\",\"user_id\":7}}", "ab".repeat(256));
    somebody.writes("anna.json", &session);
    somebody.writes("many.txt", "# ours\nanna AbC123\n");
    assert_snapshot!(somebody.is_told(&["account", "import", "many.txt"], &[]).await, @r#"
    error: many.txt, line 2: is no session string: it is not base64; each line is a session string of Telethon or Pyrogram, or LABEL and one
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["account", "export", "nobody"], &[]).await, @r#"
    error: there is no account nobody: see `telekeep account list`
    exit 2
    "#);
    somebody.is_told(&["account", "import", "anna.json"], &[]).await;
    let key = somebody.folder.path().join("telekeep.key");
    assert!(Path::new(&key).exists());
    std::fs::remove_file(key).unwrap();
    assert_snapshot!(somebody.is_told(&["account", "import", "anna.json", "--label", "anna"], &[]).await, @r#"
    error: the key file telekeep.key is missing, but 1 account(s) and proxies are sealed with it: restore it from your backup, or start a new key with --new-key and sign in or import every account again
    exit 2
    "#);
}
