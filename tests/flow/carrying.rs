//! Several accounts, one chat's files: all carry, nobody alone; what one had goes to the others when it stops, and what nobody can have is said.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::Fault;

use crate::files::{Depot, MIB, documents};
use crate::installation::until;
use crate::transfers::travelling;

/// How many downloads each account has or had.
async fn carried(pool: &PgPool) -> BTreeMap<String, i64> {
    let query =
        "select a.label, count(*) from job j join account a on a.id = j.partition where j.kind = 'file_download' group by 1";
    sqlx::query_as::<_, (String, i64)>(query).fetch_all(pool).await.unwrap().into_iter().collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn files_are_shared_by_accounts_handed_over_and_unavailable_only_to_all(pool: PgPool) {
    let depot = Depot::of(documents(20, MIB / 4), &pool, "at_once = 20\n").await;
    std::fs::write(depot.telekeep.path("bert.json"), travelling(&depot.simulator, "bert").to_string()).unwrap();
    depot.does(&["account", "import", "bert.json"]);
    depot.collects();
    let _worker = depot.works();
    until("both accounts to know their chats", || async {
        let query = "select count(*) from account_stream where dialogs_at is not null";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.unwrap() == 2
    })
    .await;
    let names: Vec<String> = depot.files().iter().map(|file| file["media_id"].as_str().unwrap().to_owned()).collect();
    let wants = |names: &[String]| {
        depot.does(&[&["file", "want"], names.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    };
    let given = |name: &str| depot.simulator.call_counts().file_bytes.get(name).copied().unwrap_or(0);
    let stored = || async {
        sqlx::query_scalar::<_, i64>("select count(*) from media where state = 'stored'").fetch_one(&pool).await.unwrap()
    };

    // Nobody carries much more than the others.
    wants(&names[..12]);
    until("twelve files", || async { stored().await == 12 }).await;
    let each = carried(&pool).await;
    assert_eq!(each.values().sum::<i64>(), 12);
    assert!(each.len() == 2 && each.values().all(|jobs| *jobs >= 4), "{each:?}");
    assert!(given("keeper") >= MIB && given("bert") >= MIB, "{} and {}", given("keeper"), given("bert"));

    // What waits for an account that was stopped goes to another.
    depot.does(&["job", "pause-kind", "file_download"]);
    wants(&names[12..18]);
    until("six more jobs", || async { carried(&pool).await.values().sum::<i64>() == 18 }).await;
    let before = carried(&pool).await;
    assert!(before["bert"] > each["bert"], "{before:?}");
    depot.does(&["account", "hold", "bert"]);
    let by_bert = given("bert");
    depot.does(&["job", "resume-kind", "file_download"]);
    until("eighteen files", || async { stored().await == 18 }).await;
    assert_eq!(given("bert"), by_bert, "a held account fetches nothing");

    // What no active account can have waits for the one that is held; it is unavailable when there is none.
    depot.simulator.fail(Fault::error(400, "FILE_REFERENCE_EXPIRED").of("upload.getFile"));
    depot.simulator.fail(Fault::error(400, "CHANNEL_PRIVATE").of("channels.getMessages"));
    depot.does(&["account", "release", "bert"]);
    wants(&names[18..19]);
    let state = |name: String| -> Value {
        serde_json::from_str::<Value>(&depot.does(&["file", "show", &name, "--json"])).unwrap()["file"].clone()
    };
    until("a file that nobody can have", || async { state(names[18].clone())["state"] == "unavailable" }).await;
    assert_eq!(state(names[18].clone())["state_reason"], "no account sees a message that carries it");
    assert!(!depot.does(&["job", "list", "--state", "held"]).contains("file_download"), "nothing waits for the operator");

    // A reference that is no better when it is read again waits for the operator.
    depot.simulator.heal();
    depot.simulator.fail(Fault::error(400, "FILE_REFERENCE_EXPIRED").of("upload.getFile"));
    wants(&names[19..20]);
    until("a file that is held", || async { state(names[19].clone())["state"] == "held" }).await;
    depot.simulator.heal();
    depot.does(&["job", "release", "--kind", "file_download"]);
    until("nineteen files", || async { stored().await == 19 }).await;

    // Wanted again, what could not be had is looked for again.
    wants(&names[18..19]);
    until("all files", || async { stored().await == 20 }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let truth = depot.truth();
    let files = depot.files();
    assert!(files.iter().all(|file| truth[file["media_id"].as_str().unwrap()] == file["sha256"].as_str().unwrap()), "{files:?}");
}
