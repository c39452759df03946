//! Files from Telegram into the store, a folder or S3: interrupted in every way, each content once, and no name ever a path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, GeneratedChat, MediaMix};
use telekeep_simulator::{Fault, FaultKind, Options, ReferenceRules, Simulator, World};

use crate::installation::{DATACENTRE, Worker};
use crate::installed::Installed;
use crate::transfers::travelling;

/// What messages carry; pictures of chats and users are left.
pub(crate) const ALL: &str = "[[files.rule]]
name = 'all'
fetch = true
types = ['photo', 'video', 'video_note', 'animation', 'audio', 'voice', 'sticker', 'document']
";
pub(crate) const MIB: u64 = 1 << 20;

/// What a store is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Folder,
    S3,
}

/// An installation with its store, at a datacentre with a chat that was collected.
pub(crate) struct Depot {
    pub(crate) simulator: Simulator,
    pub(crate) telekeep: Installed,
    pub(crate) pool: PgPool,
    pub(crate) chat: i64,
    bucket: Option<Bucket>,
}

/// A channel with so many files; its first message tells that it was made.
pub(crate) fn documents(count: i32, bytes: u64) -> World {
    let media = MediaMix { documents: 1.0, document_bytes: Some([bytes, bytes]), ..MediaMix::none() };
    World::generated(7, [GeneratedChat::new(ChatKind::Channel, "Depot", count + 1).named("depot").media(media)])
}

impl Depot {
    /// With the store in its own folder. What `[files]` has besides, and what follows it, is `configuration`.
    pub(crate) async fn of(world: World, pool: &PgPool, configuration: &str) -> Self {
        Self::at(Kind::Folder, world, pool, configuration).await
    }

    pub(crate) async fn at(store: Kind, world: World, pool: &PgPool, configuration: &str) -> Self {
        let options = Options { datacentres: 4, ..Options::default() };
        let simulator = DATACENTRE.spawn(async { Simulator::start(world, options).await.unwrap() }).await.unwrap();
        let telekeep = Installed::empty(pool);
        let chat = simulator.world().chats()[0].id;
        let bucket = match store {
            Kind::Folder => None,
            Kind::S3 => Some(Bucket::new().await),
        };
        let depot = Self { simulator, telekeep, pool: pool.clone(), chat, bucket };
        depot.configures(configuration);
        std::fs::write(depot.telekeep.path("keeper.json"), travelling(&depot.simulator, "keeper").to_string()).unwrap();
        depot.does(&["account", "import", "keeper.json"]);
        depot
    }

    pub(crate) fn configures(&self, configuration: &str) {
        let store = match &self.bucket {
            None => "store = 'store'",
            Some(_) => "store = 's3://files/kept'\nstaging = 'on-its-way'",
        };
        let text = format!("[worker]\nlease_seconds = 3\n[reconcile]\nevery_seconds = 1\n[files]\n{store}\n{configuration}");
        std::fs::write(self.telekeep.path("telekeep.toml"), text).unwrap();
    }

    /// Its processes know the bucket by this from now on.
    pub(crate) fn reaches(&mut self, address: Option<String>, secret: &'static str) {
        let bucket = self.bucket.as_mut().unwrap();
        bucket.secret = secret;
        bucket.told = address.unwrap_or_else(|| bucket.address.clone());
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.telekeep.command(arguments);
        if let Some(bucket) = &self.bucket {
            command.env("AWS_ENDPOINT_URL", &bucket.told).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", bucket.secret);
        }
        command
    }

    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn works(&self) -> Worker {
        self.works_as(self.command(&["run"]))
    }

    /// Runs a worker by a command of the caller's.
    pub(crate) fn works_as(&self, mut command: Command) -> Worker {
        let log = std::fs::File::options().append(true).create(true).open(self.telekeep.path("log")).unwrap();
        Worker(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub(crate) fn collects(&self) {
        self.does(&["collect", &self.chat.to_string()]);
    }

    /// The chat is watched; a worker learns of its files.
    pub(crate) fn watches(&self) {
        let chat = self.chat.to_string();
        self.does(&["chat", "watch", &chat]);
        self.does(&["job", "enqueue", "chat_refresh", "--chat", &chat]);
    }

    pub(crate) fn files(&self) -> Vec<Value> {
        let listed: Value = serde_json::from_str(&self.does(&["file", "list", "--json", "--limit", "100000"])).unwrap();
        // Chats' and users' pictures are another job's.
        listed["files"].as_array().unwrap().iter().filter(|file| file["type"] != "avatar").cloned().collect()
    }

    /// Waits until all of so many files are in one of these states; gives them.
    pub(crate) async fn until(&self, count: usize, states: &[&str]) -> Vec<Value> {
        let mut files = Vec::new();
        for _ in 0..1_200 {
            files = self.files();
            if files.len() == count && files.iter().all(|file| states.contains(&file["state"].as_str().unwrap())) {
                return files;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let log = std::fs::read_to_string(self.telekeep.path("log")).unwrap_or_default();
        panic!("{count} files are not {states:?}: {files:?}\n{}\n{log}", self.does(&["job", "list"]));
    }

    async fn position(&self) -> i64 {
        sqlx::query_scalar("select coalesce(max(position), 0) from file").fetch_one(&self.pool).await.unwrap()
    }

    /// SHA-256 by Telegram's id, as the datacentre has the files; empty where it names one that it does not have.
    pub(crate) fn truth(&self) -> BTreeMap<String, String> {
        let id = |file: telekeep_simulator::world::FileTruth| {
            let space = if file.media_type == Some(telekeep_simulator::world::Media::Photo) { "photo" } else { "document" };
            (format!("{space}_{}", file.file_id), file.sha256.unwrap_or_default())
        };
        self.simulator.world().files(self.chat).unwrap().map(id).collect()
    }

    pub(crate) fn given(&self) -> u64 {
        self.simulator.call_counts().file_bytes.get("keeper").copied().unwrap_or(0)
    }

    /// Where contents are, below `sha256`.
    pub(crate) fn store(&self) -> PathBuf {
        self.bucket.as_ref().map_or_else(|| self.telekeep.path("store"), |bucket| bucket.folder.path().join("files/kept"))
    }

    /// The contents of the store, while nothing is on its way.
    pub(crate) fn kept(&self) -> BTreeSet<String> {
        let staging = self.telekeep.path(if self.bucket.is_some() { "on-its-way" } else { "store/staging" });
        assert!(tree(&staging).values().all(Vec::is_empty), "nothing is left on its way");
        let hash = |path: &String| path.rsplit('/').next().unwrap().to_owned();
        let contents = tree(&self.store().join("sha256"));
        for (path, bytes) in &contents {
            assert_eq!(hash(path), sha256(bytes));
        }
        contents.keys().map(hash).collect()
    }
}

/// A bucket of an S3 server of this process, over a folder.
struct Bucket {
    folder: tempfile::TempDir,
    address: String,
    /// What Telekeep is told of it.
    told: String,
    secret: &'static str,
    serving: tokio::task::JoinHandle<()>,
}

impl Bucket {
    async fn new() -> Self {
        use hyper_util::rt::{TokioExecutor, TokioIo};
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("files")).unwrap();
        let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(s3s::auth::SimpleAuth::from_single("key", "secret"));
        let service = service.build();
        let listener = DATACENTRE.spawn(async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() }).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = DATACENTRE.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { folder, told: address.clone(), address, secret: "secret", serving }
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn by_id(files: &[Value]) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    files.iter().map(|file| (text(&file["media_id"]), text(&file["sha256"]))).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file below a folder, by its path within it.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(folder).unwrap().display().to_string(), std::fs::read(path).unwrap());
            }
        }
    }
    all
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_large_file_survives_cuts_kills_and_expired_references_in_another_datacentre(pool: PgPool) {
    survives(Kind::Folder, pool).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_large_file_survives_cuts_kills_and_expired_references_in_another_datacentre_in_s3(pool: PgPool) {
    survives(Kind::S3, pool).await;
}

async fn survives(store: Kind, pool: PgPool) {
    const SIZE: u64 = 300 * MIB;
    let world = documents(1, SIZE).files_in([4]);
    let depot = Depot::at(store, world, &pool, &format!("connections = 2\nin_flight = 1\n{ALL}")).await;
    depot.simulator.set_reference_rules(ReferenceRules { each: Some(10), ..ReferenceRules::default() });
    depot.simulator.fail(Fault::new(FaultKind::Cut).of("upload.getFile").share(0.01));
    depot.watches();
    for kill_at in [50, 130, 210] {
        let worker = depot.works();
        for waited in 0.. {
            if depot.position().await >= kill_at << 20 {
                break;
            }
            let log = || std::fs::read_to_string(depot.telekeep.path("log")).unwrap_or_default();
            assert!(waited < 6_000, "waited in vain for {kill_at} MiB: {}\n{}", depot.does(&["file", "list"]), log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        worker.kill();
        assert!(tree(&depot.store().join("sha256")).is_empty(), "nothing is visible before it is whole");
    }
    let _worker = depot.works();
    let files = depot.until(1, &["stored"]).await;
    assert_eq!(by_id(&files), depot.truth());
    assert_eq!(depot.kept(), depot.truth().into_values().collect());
    let given = depot.given();
    assert!(given as f64 <= 1.05 * SIZE as f64, "{given} bytes of {SIZE} were fetched");
    let calls = |method: &str| depot.simulator.calls(method);
    let (read, asked) = (calls("channels.getMessages"), calls("upload.getFile") + calls("upload.getFileHashes"));
    assert!(
        read > 20 && read <= asked / 10,
        "{read} messages were read again in {asked} calls, of which each tenth found its reference expired"
    );
    assert_eq!(calls("auth.exportAuthorization"), 1, "once for the account and datacentre, over all processes");
    println!("{given} bytes fetched of {SIZE}, {read} references renewed");
}

/// An export of a channel whose messages carry these files: name as told, path within the export, content.
fn export(folder: &Path, files: &[(String, &str, Vec<u8>)]) {
    std::fs::create_dir_all(folder.join("files")).unwrap();
    let message = |(at, (name, path, content)): (usize, &(String, &str, Vec<u8>))| {
        std::fs::write(folder.join(path), content).unwrap();
        json!({
            "id": at + 1, "type": "message", "date": "2024-01-01T00:00:00", "date_unixtime": (1_704_067_200 + at).to_string(),
            "from": "Depot", "from_id": "channel1500000001", "file": path, "file_name": name, "file_size": content.len(),
            "mime_type": "application/octet-stream", "text": "", "text_entities": [],
        })
    };
    let messages: Vec<Value> = files.iter().enumerate().map(message).collect();
    let told = json!({"name": "Depot", "type": "public_channel", "id": 1_500_000_001_i64, "messages": messages});
    std::fs::write(folder.join("result.json"), told.to_string()).unwrap();
}

fn hostile_names() -> Vec<String> {
    let base = [
        "../../../../tmp/telekeep-was-here",
        "/tmp/telekeep-was-here",
        "..",
        ".",
        "",
        " ",
        "/",
        "\\",
        "..\\..\\windows",
        "C:\\boot.ini",
        "con",
        "NUL",
        "aux.txt",
        "LPT1",
        "a\u{0}b",
        "\u{202e}gpj.exe",
        "\u{200f}name",
        "~/.ssh/authorized_keys",
        "$(touch x)",
        "`touch x`",
        "-rf",
        "a\nb",
        "a\r\nb",
        "%2e%2e%2fescape",
        "file:///etc/passwd",
        "staging/../../x",
        "sha256/aa/bb/x",
        ".part",
        "media-1.part",
        "\u{7f}",
    ];
    let mut names: Vec<String> = base.iter().map(|name| (*name).to_owned()).collect();
    names.push("x".repeat(300));
    names.push(format!("{}/escape", "../".repeat(90)));
    let mut number = 0;
    while names.len() < 200 {
        names.push(format!("../{}{number}", base[number % base.len()]));
        number += 1;
    }
    names
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn two_hundred_hostile_names_write_nothing_outside_the_store(pool: PgPool) {
    stays_inside(Kind::Folder, pool).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn two_hundred_hostile_names_write_nothing_outside_the_store_in_s3(pool: PgPool) {
    stays_inside(Kind::S3, pool).await;
}

async fn stays_inside(store: Kind, pool: PgPool) {
    let names = hostile_names();
    let paths: Vec<String> = (0..names.len()).map(|at| format!("files/{at}.bin")).collect();
    let files: Vec<_> = names
        .iter()
        .zip(&paths)
        .enumerate()
        .map(|(at, (name, path))| (name.clone(), path.as_str(), format!("content {at}").into_bytes()))
        .collect();
    let source = tempfile::tempdir().unwrap();
    export(source.path(), &files);
    let depot = Depot::at(store, World::from_export(source.path()).unwrap(), &pool, ALL).await;
    let escape = Path::new("/tmp/telekeep-was-here");
    assert!(!escape.exists());
    let around = |telekeep: &Installed| -> BTreeSet<String> {
        let kept = |path: &String| path.starts_with("store/") || path.starts_with("on-its-way/") || path == "log";
        tree(&telekeep.path(".")).into_keys().filter(|path| !kept(path)).collect()
    };
    depot.collects();
    let before = around(&depot.telekeep);
    let _worker = depot.works();
    let stored = depot.until(names.len(), &["stored"]).await;
    assert_eq!(depot.kept(), files.iter().map(|(_, _, content)| sha256(content)).collect());
    assert_eq!(around(&depot.telekeep), before, "nothing beside the store");
    assert!(!escape.exists());
    for file in &stored {
        let location = file["location"].as_str().unwrap();
        assert!(location.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/'), "{location}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn one_content_of_two_documents_is_kept_once_and_rules_choose(pool: PgPool) {
    keeps_once(Kind::Folder, pool).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn one_content_of_two_documents_is_kept_once_and_rules_choose_in_s3(pool: PgPool) {
    keeps_once(Kind::S3, pool).await;
}

async fn keeps_once(store: Kind, pool: PgPool) {
    let (same, other) = (vec![7; 300_000], vec![8; 200_000]);
    let files = [
        ("a.bin".to_owned(), "files/a.bin", same.clone()),
        ("b.bin".to_owned(), "files/b.bin", same.clone()),
        ("c.bin".to_owned(), "files/c.bin", other.clone()),
    ];
    let source = tempfile::tempdir().unwrap();
    export(source.path(), &files);
    let large = "[[files.rule]]\nname = 'large'\nfetch = true\nmin_bytes = 250000\n";
    let depot = Depot::at(store, World::from_export(source.path()).unwrap(), &pool, large).await;
    depot.collects();
    let dry: Value = serde_json::from_str(&depot.does(&["file", "rules", "test", "--json"])).unwrap();
    assert_eq!(dry["fetched"], json!({"files": 2, "bytes": 600_000, "unsized_files": 0}), "{dry}");
    let worker = depot.works();
    depot.does(&["file", "list", "--watch"]);
    let files = depot.until(3, &["stored", "skipped"]).await;
    let skipped: Vec<_> = files.iter().filter(|file| file["state"] == "skipped").collect();
    assert_eq!((skipped.len(), &skipped[0]["state_reason"]), (1, &json!("no rule covers it")));
    assert_eq!(depot.kept(), BTreeSet::from([sha256(&same)]));
    worker.kill();

    // Other rules decide anew of what is not stored.
    depot.configures(ALL);
    let _worker = depot.works();
    let stored = depot.until(3, &["stored"]).await;
    assert_eq!(depot.kept(), BTreeSet::from([sha256(&same), sha256(&other)]));
    assert_eq!(by_id(&stored), depot.truth());
    let shown = depot.does(&["file", "show", stored[0]["media_id"].as_str().unwrap()]);
    assert!(shown.contains("stored at  sha256/") && shown.contains("rule       "), "{shown}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn where_deletions_erase_a_content_leaves_the_store_with_its_last_file(pool: PgPool) {
    erases(Kind::Folder, pool).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn where_deletions_erase_a_content_leaves_the_store_with_its_last_file_in_s3(pool: PgPool) {
    erases(Kind::S3, pool).await;
}

async fn erases(store: Kind, pool: PgPool) {
    let (same, other) = (vec![7; 3_000], vec![8; 2_000]);
    let files = [
        ("a.bin".to_owned(), "files/a.bin", same.clone()),
        ("b.bin".to_owned(), "files/b.bin", same.clone()),
        ("c.bin".to_owned(), "files/c.bin", other.clone()),
    ];
    let source = tempfile::tempdir().unwrap();
    export(source.path(), &files);
    let depot = Depot::at(store, World::from_export(source.path()).unwrap(), &pool, ALL).await;
    depot.collects();
    depot.does(&["chat", "watch", &depot.chat.to_string(), "--on-delete", "erase"]);
    let _worker = depot.works();
    depot.until(3, &["stored"]).await;
    let messages: BTreeMap<String, i32> = sqlx::query_as::<_, (String, i64)>(
        "select m.body ->> 'file_name', s.message_id from media m join media_source s on s.media = m.id where m.body ? 'file_name'",
    )
    .fetch_all(&pool)
    .await
    .unwrap()
    .into_iter()
    .map(|(name, id)| (name, i32::try_from(id).unwrap()))
    .collect();
    // Two files share a content: it stays for the one that is left.
    for (erased, left) in [(vec!["a.bin", "c.bin"], vec![sha256(&same)]), (vec!["b.bin"], vec![])] {
        let ids: Vec<i32> = erased.iter().map(|name| messages[*name]).collect();
        depot.simulator.delete(depot.chat, &ids).unwrap();
        let left = BTreeSet::from_iter(left);
        let mut kept = BTreeSet::new();
        for _ in 0..120 {
            kept = depot.kept();
            let waiting: i64 = sqlx::query_scalar("select count(*) from media_removal").fetch_one(&pool).await.unwrap();
            if kept == left && waiting == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        assert_eq!(kept, left, "after {erased:?} were erased");
    }
    let objects: i64 = sqlx::query_scalar("select count(*) from stored_object").fetch_one(&pool).await.unwrap();
    assert_eq!(objects, 0, "the quota counts them no more");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn without_rules_nothing_is_fetched_until_the_operator_wants_it(pool: PgPool) {
    let depot = Depot::of(documents(2, MIB), &pool, "").await;
    depot.collects();
    let files = depot.until(2, &["skipped"]).await;
    let _worker = depot.works();
    depot.does(&["job", "enqueue", "file_download", "--media", &files[0]["id"].to_string()]);
    depot.does(&["file", "list", "--watch"]);
    let after = depot.until(2, &["skipped", "stored"]).await;
    let stored: Vec<_> = after.iter().filter(|file| file["state"] == "stored").map(|file| &file["id"]).collect();
    assert_eq!(stored, [&files[0]["id"]]);
    let told = depot.does(&["file", "want", "--chat", &depot.chat.to_string()]);
    assert!(told.starts_with("1 of 2 files are wanted now"), "{told}");
    assert_eq!(by_id(&depot.until(2, &["stored"]).await), depot.truth());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_files_of_a_real_channel_are_those_of_its_export(pool: PgPool) {
    keeps_a_real_channel(Kind::Folder, pool).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_files_of_a_real_channel_are_those_of_its_export_in_s3(pool: PgPool) {
    keeps_a_real_channel(Kind::S3, pool).await;
}

async fn keeps_a_real_channel(store: Kind, pool: PgPool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/trantor-library");
    if !folder.exists() {
        println!("SKIPPED: the export of a real channel is not here");
        return;
    }
    // A message that changes the channel's photo carries it: that is a picture of the channel.
    let rules = "[[files.rule]]\nname = 'all'\nfetch = true\n";
    let depot = Depot::at(store, World::from_export(&folder).unwrap(), &pool, rules).await;
    depot.collects();
    let truth = depot.truth();
    let _worker = depot.works();
    let files = depot.until(truth.len(), &["stored", "held"]).await;
    assert_eq!(by_id(&files), truth, "what is named without being there is held, and nothing else");
    for _ in 0..240 {
        let open =
            "select (select count(*) from media where state in ('wanted', 'fetching')) + (select count(*) from file_undecided)";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&pool).await.unwrap();
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let stored = depot.kept();
    // As its messages name them; not all files were exported.
    let told: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    let named = |field: &str| -> Vec<PathBuf> {
        let messages = told["messages"].as_array().unwrap();
        messages.iter().filter_map(|message| Some(folder.join(message[field].as_str()?))).filter(|path| path.exists()).collect()
    };
    let photos = named("photo");
    assert_eq!(photos.len(), 484);
    for path in photos.iter().chain(&named("file")) {
        assert!(stored.contains(&sha256(&std::fs::read(path).unwrap())), "{} is not in the store", path.display());
    }
}
