//! Files that wait, whole to their last byte, where there is no room for them or the store is away.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, GeneratedChat, MediaMix};

use crate::files::{ALL, Depot, Kind, MIB, by_id, documents, tree};
use crate::installation::{DATACENTRE, until};

/// A small disk of its own, which goes with the value.
struct Disk(PathBuf);

impl Disk {
    /// None where this process may not mount.
    fn of(mib: u32, folder: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).status().ok()?;
        mounted.success().then_some(Self(folder))
    }

    fn grows_to(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What the job of a held file tells to do.
fn hint(depot: &Depot) -> String {
    let jobs: Value = serde_json::from_str(&depot.does(&["job", "list", "--kind", "file_download", "--json"])).unwrap();
    assert_eq!(jobs[0]["state"], "held");
    jobs[0]["hint"].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_full_disk_holds_the_file_and_its_job_goes_on_when_there_is_room(pool: PgPool) {
    let depot = Depot::of(documents(1, 12 * MIB), &pool, ALL).await;
    let Some(disk) = Disk::of(5, depot.store()) else {
        println!("SKIPPED: no disk can be mounted here");
        return;
    };
    let worker = depot.works();
    depot.watches();
    let held = depot.until(1, &["held"]).await;
    assert!(held[0]["state_reason"].as_str().unwrap().contains("no room left in"), "{held:?}");
    assert!(tree(&depot.store().join("sha256")).is_empty());
    assert!(hint(&depot).contains("make room there, then `telekeep job release`"));
    let given = depot.given();
    disk.grows_to(40);
    depot.does(&["job", "release", "--kind", "file_download"]);
    let files = depot.until(1, &["stored"]).await;
    drop(worker);
    assert_eq!(by_id(&files), depot.truth());
    assert_eq!(depot.kept(), depot.truth().into_values().collect());
    assert!(
        depot.given() - given <= 9 * MIB,
        "what was there was not fetched again: {} bytes after {given}",
        depot.given() - given
    );
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_file_larger_than_this_process_may_write_is_held_and_goes_on_when_it_may(pool: PgPool) {
    let depot = Depot::of(documents(1, 12 * MIB), &pool, ALL).await;
    // `ulimit -f` counts blocks of 512 bytes.
    let limited = depot.command(&["run"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -f {}; exec \"$0\" run", 5 * MIB / 512)]).arg(limited.get_program());
    shell.current_dir(limited.get_current_dir().unwrap());
    for (name, value) in limited.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut worker = depot.works_as(shell);
    depot.watches();
    let held = depot.until(1, &["held"]).await;
    assert!(held[0]["state_reason"].as_str().unwrap().contains("no room left in"), "{held:?}");
    assert!(tree(&depot.store().join("sha256")).is_empty());
    assert!(hint(&depot).contains("make room there, then `telekeep job release`"));
    assert!(worker.0.try_wait().unwrap().is_none(), "it lives");
    worker.kill();
    let given = depot.given();
    let _worker = depot.works();
    depot.does(&["job", "release", "--kind", "file_download"]);
    assert_eq!(by_id(&depot.until(1, &["stored"]).await), depot.truth());
    assert_eq!(depot.kept(), depot.truth().into_values().collect());
    assert!(depot.given() - given <= 9 * MIB, "what was there was not fetched again: {} bytes", depot.given() - given);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_quota_holds_files_until_it_is_raised(pool: PgPool) {
    let configuration = |quota: u64| format!("quota_bytes = {quota}\n{ALL}");
    let depot = Depot::of(documents(1, 3 * MIB), &pool, &configuration(MIB)).await;
    let worker = depot.works();
    depot.watches();
    let held = depot.until(1, &["held"]).await;
    assert!(held[0]["state_reason"].as_str().unwrap().contains("quota_bytes` allows 1048576"), "{held:?}");
    assert_eq!(depot.given(), 0);
    worker.kill();
    depot.configures(&configuration(4 * MIB));
    let _worker = depot.works();
    depot.does(&["job", "release", "--kind", "file_download"]);
    assert_eq!(by_id(&depot.until(1, &["stored"]).await), depot.truth());
}

/// Takes connections, and never says a word.
async fn silence() -> (String, tokio::task::JoinHandle<()>) {
    let listener = DATACENTRE.spawn(async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() }).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let listening = DATACENTRE.spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    (address, listening)
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_object_store_that_refuses_or_is_silent_holds_files_and_nothing_is_fetched_twice(pool: PgPool) {
    // Above one piece of an upload, and below.
    let media = MediaMix { documents: 1.0, document_bytes: Some([MIB, 20 * MIB]), ..MediaMix::none() };
    let world = World::generated(9, [GeneratedChat::new(ChatKind::Channel, "Depot", 4).named("depot").media(media)]);
    let mut depot = Depot::at(Kind::S3, world, &pool, ALL).await;
    depot.reaches(None, "another");
    let worker = depot.works();
    depot.watches();
    let count = depot.truth().len();
    let held = depot.until(count, &["held"]).await;
    assert!(held[0]["state_reason"].as_str().unwrap().contains("s3://files/kept cannot be used"), "{held:?}");
    worker.kill();
    let given = depot.given();

    let (silent, listening) = silence().await;
    depot.reaches(Some(silent), "secret");
    let worker = depot.works();
    depot.does(&["job", "release", "--kind", "file_download"]);
    until("the store to be given up again", || async {
        let open = "select count(*) from job where kind = 'file_download' and (state <> 'held' or attempt < 2)";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    let held = depot.files();
    assert!(held[0]["state_reason"].as_str().unwrap().contains("s3://files/kept cannot be used"), "{held:?}");
    assert!(hint(&depot).contains("see that it is there"));
    worker.kill();
    listening.abort();

    depot.reaches(None, "secret");
    let _worker = depot.works();
    depot.does(&["job", "release", "--kind", "file_download"]);
    assert_eq!(by_id(&depot.until(count, &["stored"]).await), depot.truth());
    assert_eq!(depot.kept(), depot.truth().into_values().collect());
    assert_eq!(depot.given(), given, "nothing was fetched twice");
}
