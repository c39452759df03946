//! An installation of Telekeep without Elasticsearch, for tests of commands: a database and a folder of its own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use telekeep_simulator::{Options, Simulator, World};

/// Threads of the datacentre, and of what else answers processes: a test that waits for a process must not stop it.
static DATACENTRE: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

pub async fn datacentre(world: World) -> Simulator {
    DATACENTRE.spawn(async { Simulator::start(world, Options::default()).await.unwrap() }).await.unwrap()
}

/// Runs there until the tests end.
pub fn beside(work: impl Future<Output = ()> + Send + 'static) {
    DATACENTRE.spawn(work);
}

pub struct Installed {
    folder: tempfile::TempDir,
    database: String,
}

impl Installed {
    /// Prepared, with the account `keeper` at this datacentre.
    pub fn at(datacentre: &Simulator, pool: &PgPool) -> Self {
        let installed = Self::empty(pool);
        installed.adds(datacentre, "keeper");
        installed
    }

    /// Prepared, without accounts.
    pub fn empty(pool: &PgPool) -> Self {
        let installed = Self { folder: tempfile::tempdir().unwrap(), database: pool.connect_options().to_url_lossy().to_string() };
        installed.does(&["migrate"]);
        installed
    }

    /// Imports an account of this datacentre.
    pub fn adds(&self, datacentre: &Simulator, name: &str) {
        let file = format!("{name}.json");
        std::fs::write(self.path(&file), serde_json::to_vec(&datacentre.account(name).unwrap()).unwrap()).unwrap();
        self.does(&["account", "import", &file]);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command.
    pub fn runs(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telekeep"));
        command.args(arguments).current_dir(self.folder.path()).env("DATABASE_URL", &self.database).env("TELEKEEP_LOG", "warn");
        command.env_remove("TELEKEEP_CONFIG").env_remove("ELASTICSEARCH_URL");
        command
    }

    /// Runs a command that must succeed; gives what it printed.
    pub fn does(&self, arguments: &[&str]) -> String {
        let output = self.runs(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that is the user's mistake; gives what was told.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.runs(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        told
    }

    /// The documents of a chat from the record, provenance apart.
    pub fn documents(&self, chat: i64) -> Vec<Value> {
        let lines = self.does(&["export", &chat.to_string()]);
        let documents = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let without = |mut document: Value| {
            for provenance in ["seen", "insert_date"] {
                document.as_object_mut().unwrap().remove(provenance).unwrap();
            }
            document
        };
        documents.map(without).collect()
    }

    /// What `telekeep coverage` says of a chat.
    pub fn coverage(&self, chat: i64) -> Value {
        let told: Value = serde_json::from_str(&self.does(&["coverage", &chat.to_string(), "--json"])).unwrap();
        told["chats"][0].clone()
    }
}
