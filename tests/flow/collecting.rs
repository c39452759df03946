//! Whole chats through the real binary: from a simulated datacentre to record and index, also through kills.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::{AccountRequest, World};

use crate::installation::{DATACENTRE, Telekeep, Worker, datacentre, outbox, until};

async fn revisions(pool: &PgPool) -> Vec<(i64, i64)> {
    sqlx::query_as("select message_id, revision from message order by 1").fetch_all(pool).await.unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_real_channel_is_collected_whole_and_reading_it_again_changes_nothing(pool: PgPool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/trantor-library");
    if !folder.exists() {
        println!("SKIPPED: the export of a real channel is not here");
        return;
    }
    let datacentre = datacentre(World::from_export(&folder).unwrap()).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    telekeep.holds_the_truth(&datacentre, chat);

    let told: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    let told = told["messages"].as_array().unwrap();
    let found = telekeep.documents(chat, "index");
    assert_eq!((told.len(), found.len()), (924, 924));
    for message in told {
        let document = &found[&message["id"].as_i64().unwrap()];
        let date = document["date"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        assert_eq!(date.timestamp().to_string(), message["date_unixtime"].as_str().unwrap());
        let text: String = match &message["text"] {
            Value::Array(parts) => parts.iter().map(|part| part.as_str().or(part["text"].as_str()).unwrap()).collect(),
            text => text.as_str().unwrap().to_owned(),
        };
        assert_eq!(document["text"].as_str().unwrap_or_default(), text, "message {}", message["id"]);
    }

    let (before, pages) = (revisions(&pool).await, datacentre.calls("messages.getHistory"));
    telekeep.does(&["collect", &chat.to_string(), "--force"]);
    assert_eq!(datacentre.calls("messages.getHistory") - pages, pages, "every page is fetched again");
    assert_eq!(revisions(&pool).await, before, "equal content changes nothing");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_worker_killed_three_times_loses_and_doubles_nothing(pool: PgPool) {
    let datacentre = datacentre(World::empty(11).supergroup(5_000, 0.25)).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    let pages_in_all = datacentre.world().chats()[0].count().div_ceil(100) as u64;
    telekeep.does(&["chat", "watch", &chat.to_string(), "--on-delete", "erase"]);
    let watched: Value = serde_json::from_str(&telekeep.does(&["chat", "show", &chat.to_string(), "--json"])).unwrap();
    assert_eq!(watched["watch"]["on_delete"], "erase");
    std::fs::create_dir(telekeep.path("workflows")).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/new-chat.toml");
    std::fs::copy(file, telekeep.path("workflows/new-chat.toml")).unwrap();
    telekeep.does(&["workflow", "run", "new-chat"]);
    datacentre.set_latency(Duration::from_millis(150));

    let mut worker = telekeep.works();
    let mut at: Vec<f64> = (0..3).map(|_| rand::rng().random_range(0.1..0.9)).collect();
    at.sort_by(f64::total_cmp);
    println!("killed at {at:?}");
    for share in at {
        until("the moment to kill", || async {
            let collected: i64 = sqlx::query_scalar("select count(*) from message").fetch_one(&pool).await.unwrap();
            let running: i64 =
                sqlx::query_scalar("select count(*) from job where state = 'running'").fetch_one(&pool).await.unwrap();
            running > 0 && collected as f64 >= share * datacentre.world().chats()[0].count() as f64
        })
        .await;
        worker.kill();
        worker = telekeep.works();
    }
    until("the end", || async {
        let open: i64 =
            sqlx::query_scalar("select count(*) from workflow_run where state = 'running'").fetch_one(&pool).await.unwrap();
        open == 0 && outbox(&pool).await == 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await; // the index's refresh interval
    worker.kill();

    telekeep.holds_the_truth(&datacentre, chat);
    let unfinished: i64 = sqlx::query_scalar("select count(*) from job where state <> 'done'").fetch_one(&pool).await.unwrap();
    assert_eq!(unfinished, 0, "jobs are left in the queue");
    // One page of a refresh and one empty page at the window's end, and one more for each kill.
    let pages = datacentre.calls("messages.getHistory");
    assert!(pages <= pages_in_all + 2 + 3, "{pages} pages were fetched of {pages_in_all}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn collect_goes_on_by_itself_where_a_worker_was_killed(pool: PgPool) {
    let datacentre = datacentre(World::empty(13).supergroup(2_000, 0.1)).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    datacentre.set_latency(Duration::from_millis(150));
    let killed = Worker(telekeep.command(&["collect", &chat.to_string()]).stdout(Stdio::null()).spawn().unwrap());
    until("some pages", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from message").fetch_one(&pool).await.unwrap() > 500
    })
    .await;
    killed.kill();
    let told = telekeep.does(&["collect", &chat.to_string()]);
    assert!(told.contains("a worker is running") && told.contains("that worker is gone"), "{told}");
    telekeep.holds_the_truth(&datacentre, chat);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_running_process_finds_and_closes_what_is_missing_without_any_workflow(pool: PgPool) {
    let datacentre = datacentre(World::empty(14).supergroup(700, 0.2)).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    std::fs::write(telekeep.path("telekeep.toml"), "[reconcile]\nevery_seconds = 1\n").unwrap();
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&pool).await.unwrap();
    assert_eq!(jobs, 0, "nobody listens");

    let worker = telekeep.works();
    let whole = "select count(*) from coverage where top > 600 and settled @> int8range(1, top + 1) and isempty(stale)";
    let is_whole = || async { sqlx::query_scalar::<_, i64>(whole).fetch_one(&pool).await.unwrap() == 1 };
    until("the whole chat", is_whole).await;
    // A lost burst: some ids are to be read again.
    let stale = "update coverage set stale = int8multirange(int8range(100, 200)), stale_count = stale_count + 1";
    sqlx::query(stale).execute(&pool).await.unwrap();
    until("what was stale", is_whole).await;
    until("the end of the jobs", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from job where state <> 'done'").fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    until("the outbox", || async { outbox(&pool).await == 0 }).await;
    let (pages, jobs) = (datacentre.calls("messages.getHistory"), "select count(*) from job");
    let made: i64 = sqlx::query_scalar(jobs).fetch_one(&pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3_500)).await; // three more rounds, and the index's refresh interval
    worker.kill();
    assert_eq!(datacentre.calls("messages.getHistory"), pages, "nothing is read again");
    assert_eq!(sqlx::query_scalar::<_, i64>(jobs).fetch_one(&pool).await.unwrap(), made, "no job is made for nothing");
    telekeep.holds_the_truth(&datacentre, chat);
    assert!(datacentre.violations().is_empty());
}

/// The way to Elasticsearch, which can be shut.
struct Gate {
    address: String,
    open: tokio::sync::watch::Sender<bool>,
}

impl Gate {
    async fn open() -> Self {
        let url = std::env::var("ELASTICSEARCH_URL").unwrap();
        let server = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        // On the datacentre's threads, for those of the test stand still while it waits for a process.
        let bound = DATACENTRE.spawn(tokio::net::TcpListener::bind("127.0.0.1:0")).await;
        let listener = bound.unwrap().unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (open, is_open) = tokio::sync::watch::channel(true);
        DATACENTRE.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut is_open) = (server.clone(), is_open.clone());
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = is_open.wait_for(|open| !open) => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, open }
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn collecting_goes_on_while_elasticsearch_is_away_and_the_outbox_waits(pool: PgPool) {
    let datacentre = datacentre(World::empty(12).supergroup(300, 0.2).supergroup(400, 0.2)).await;
    let gate = Gate::open().await;
    let mut telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.server = Some(gate.address.clone());
    let chats: Vec<i64> = datacentre.world().chats().iter().map(|chat| chat.id).collect();
    telekeep.does(&["collect", &chats[0].to_string()]);

    let worker = telekeep.works();
    gate.open.send_replace(false);
    until("a worker", || async { !telekeep_queue::workers(&pool).await.unwrap().iter().all(|w| w.state != "live") }).await;
    let told = telekeep.command(&["collect", &chats[1].to_string()]).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("the index waits") && told.contains("stay in the outbox"), "{told}");
    let documents = datacentre.world().chats()[1].count();
    assert_eq!(telekeep.documents(chats[1], "record").len(), documents);

    let doctor = telekeep.command(&["doctor"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        doctor.contains("BAD elasticsearch") && doctor.contains("BAD projection") && doctor.contains("wait in the outbox"),
        "{doctor}"
    );
    tokio::time::sleep(Duration::from_secs(4)).await; // tries again, and stays silent
    let log = std::fs::read_to_string(telekeep.path("log")).unwrap();
    assert_eq!(log.matches("Elasticsearch takes nothing").count(), 1, "{log}");

    gate.open.send_replace(true);
    until("the outbox", || async { outbox(&pool).await == 0 }).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await; // the index's refresh interval
    worker.kill();
    for chat in chats {
        telekeep.holds_the_truth(&datacentre, chat);
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn several_accounts_read_one_chat_at_once_and_nothing_twice(pool: PgPool) {
    let datacentre = datacentre(World::empty(15).supergroup(20_000, 0.2)).await;
    datacentre.count_told();
    let telekeep = Telekeep::at(&datacentre, &pool);
    for name in ["second", "third"] {
        let session = datacentre.account_with(&AccountRequest::named(name)).unwrap();
        std::fs::write(telekeep.path(&format!("{name}.json")), serde_json::to_vec(&session).unwrap()).unwrap();
        telekeep.does(&["account", "import", &format!("{name}.json")]);
    }
    telekeep.has_workflow("new-chat");
    let chat = datacentre.world().chats()[0].id;
    let worker = telekeep.works();
    until("what the accounts know", || async {
        let known: i64 =
            sqlx::query_scalar("select count(*) from account_peer where peer_id = $1").bind(chat).fetch_one(&pool).await.unwrap();
        known == 3
    })
    .await;
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    until("the history", || async {
        let done: i64 =
            sqlx::query_scalar("select count(*) from workflow_run where state = 'done'").fetch_one(&pool).await.unwrap();
        done == 1
    })
    .await;
    worker.kill();
    telekeep.has_in_the_record(&datacentre, chat);
    let calls = datacentre.call_counts().accounts;
    for name in ["keeper", "second", "third"] {
        assert!(calls[name]["messages.getHistory"] > 20, "{name}: {:?}", calls[name]);
    }
    // The refresh reads the newest message.
    let again: u32 = datacentre.told().values().map(|times| times - 1).sum();
    assert!(again <= 1, "{again} messages were told twice");
}
