//! One installation of Telekeep as a user has it: the real binary, a database and index names of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use telekeep_simulator::world::{Content, Truth};
use telekeep_simulator::{Options, Simulator, World};

/// The datacentre's own threads: a test that waits for a process must not stop it.
pub(crate) static DATACENTRE: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

pub(crate) async fn datacentre(world: World) -> Simulator {
    DATACENTRE.spawn(async { Simulator::start(world, Options::default()).await.unwrap() }).await.unwrap()
}

/// One installation of Telekeep: a database, index names and a folder of its own.
pub(crate) struct Telekeep {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) database: String,
    pub(crate) prefix: String,
    /// The way to Elasticsearch where it is not the direct one.
    pub(crate) server: Option<String>,
}

impl Telekeep {
    /// Prepared, with an account at this datacentre.
    pub(crate) fn at(datacentre: &Simulator, pool: &PgPool) -> Self {
        let database = pool.connect_options().to_url_lossy().to_string();
        let prefix = format!("flow-{:x}", rand::random::<u64>());
        let telekeep = Self { folder: tempfile::tempdir().unwrap(), database, prefix, server: None };
        std::fs::write(telekeep.path("telekeep.toml"), "[worker]\nlease_seconds = 3\n").unwrap();
        std::fs::write(telekeep.path("keeper.json"), serde_json::to_vec(&datacentre.account("keeper").unwrap()).unwrap()).unwrap();
        telekeep.does(&["migrate"]);
        telekeep.does(&["account", "import", "keeper.json"]);
        telekeep
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telekeep"));
        command.args(arguments).current_dir(self.folder.path()).env("DATABASE_URL", &self.database);
        command.env("TELEKEEP_INDEX_PREFIX", &self.prefix).env("TELEKEEP_LOG", "warn").env_remove("TELEKEEP_CONFIG");
        assert!(std::env::var_os("ELASTICSEARCH_URL").is_some(), "ELASTICSEARCH_URL is not set: eval \"$(scripts/up)\" starts one");
        command.envs(self.server.iter().map(|server| ("ELASTICSEARCH_URL", server)));
        command
    }

    /// Runs a command that must succeed; gives what it printed.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn works(&self) -> Worker {
        let log = std::fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        Worker(self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The chat's documents by message id.
    pub(crate) fn documents(&self, chat: i64, from: &str) -> BTreeMap<i64, Value> {
        let lines = self.does(&["export", &chat.to_string(), "--from", from]);
        let documents = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        documents.map(|document| (document["message_id"].as_i64().unwrap(), document)).collect()
    }

    /// Adds to the configuration.
    pub(crate) fn configures(&self, lines: &str) {
        let mut all = std::fs::read_to_string(self.path("telekeep.toml")).unwrap();
        all.push_str(lines);
        std::fs::write(self.path("telekeep.toml"), all).unwrap();
    }

    /// Takes one of the repository's workflows.
    pub(crate) fn has_workflow(&self, name: &str) {
        std::fs::create_dir_all(self.path("workflows")).unwrap();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("workflows/{name}.toml"));
        std::fs::copy(file, self.path(&format!("workflows/{name}.toml"))).unwrap();
    }

    /// Record and index hold exactly what the datacentre holds.
    pub(crate) fn holds_the_truth(&self, datacentre: &Simulator, chat: i64) {
        self.has_in("record", datacentre, chat);
        self.has_in("index", datacentre, chat);
    }

    /// The record alone holds exactly what the datacentre holds.
    pub(crate) fn has_in_the_record(&self, datacentre: &Simulator, chat: i64) {
        self.has_in("record", datacentre, chat);
    }

    fn has_in(&self, from: &str, datacentre: &Simulator, chat: i64) {
        let truth: BTreeMap<i64, String> =
            datacentre.truth(chat).unwrap().into_iter().map(|t| (i64::from(t.content.message_id), t.content_hash)).collect();
        assert!(!truth.is_empty());
        let exists = |document: &Value| document["deleted_at"].is_null() && document["deleted_between"].is_null();
        let found: BTreeMap<i64, String> = self
            .documents(chat, from)
            .iter()
            .filter(|(_, document)| exists(document))
            .map(|(id, document)| (*id, Truth::hash_of(&Content::of_document(document).unwrap())))
            .collect();
        let differ: Vec<_> = truth.iter().filter(|(id, hash)| found.get(id) != Some(hash)).map(|(id, _)| id).take(5).collect();
        let beyond: Vec<_> = found.keys().filter(|id| !truth.contains_key(id)).take(5).collect();
        assert!(
            differ.is_empty() && beyond.is_empty(),
            "the {from} of {chat} differs in {differ:?} and has {beyond:?} beyond the truth, {} of {}",
            found.len(),
            truth.len()
        );
    }
}

/// A working process, which is killed at the latest when the test ends.
pub(crate) struct Worker(pub(crate) Child);

impl Worker {
    pub(crate) fn kill(self) {}
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Telekeep {
    fn drop(&mut self) {
        let Ok(server) = std::env::var("ELASTICSEARCH_URL") else { return };
        for kind in telekeep::record::outbox::Kind::ALL {
            let index = format!("{server}/{}-{kind}-v1", self.prefix);
            let _ = Command::new("curl").args(["-s", "-o", "/dev/null", "-X", "DELETE", &index]).status();
        }
    }
}

pub(crate) async fn outbox(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from outbox").fetch_one(pool).await.unwrap()
}

/// Waits for something, for at most two minutes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    for _ in 0..1_200 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}");
}
