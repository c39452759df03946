//! What the dashboard can, commands can: jobs by what they have in common, search by filters, tags, pauses; and each change is noted.

use std::process::Command;

use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep::telegram::tl::Serializable;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, MediaMix};

use crate::api::jobs;
use crate::installation::{Telekeep, outbox, until};
use crate::installed::{Installed, datacentre};

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

/// The ids that `telekeep job list` tells.
fn listed(telekeep: &Installed, more: &[&str]) -> Vec<i64> {
    let rows = read(&telekeep.does(&[&["job", "list", "--json"][..], more].concat()));
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// What `telekeep audit-log list` tells, the newest first.
fn noted(telekeep: &Installed, more: &[&str]) -> Vec<Value> {
    let rows = read(&telekeep.does(&[&["audit-log", "list", "--json"][..], more].concat()));
    rows.as_array().unwrap().clone()
}

fn whats(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn jobs_are_listed_and_changed_by_what_they_have_in_common(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    let all = jobs(&pool).await;
    let [first, second] = [all[0], all[1]].map(|id| id.to_string());
    for (filters, expected) in [
        (&["--state", "dead"][..], vec![all[1]]),
        (&["--state", "held", "--kind", "history_fetch"], vec![all[2]]),
        (&["--chat", "-1000000000101"], vec![all[1]]),
        (&["--chat", "-1000000000101", "--state", "available"], vec![]),
        (&["--error", "closed"], vec![all[1]]),
        (&["--error", "%"], vec![]),
        (&["--parent", &first], vec![all[7]]),
        (&["--account", "0", "--limit", "1"], vec![all[7]]),
        (&["--partition", "7"], vec![]),
        (&["--run", "1"], vec![]),
        (&[&second, &first], vec![all[1], all[0]]),
        (&["--limit", "3", "--before", &all[4].to_string()], vec![all[3], all[2], all[1]]),
    ] {
        assert_eq!(listed(&telekeep, filters), expected, "{filters:?}");
    }
    let shown = read(&telekeep.does(&["job", "show", &all[7].to_string(), "--json"]));
    let family: Vec<(&Value, &Value)> =
        shown["lineage"].as_array().unwrap().iter().map(|it| (&it["id"], &it["distance"])).collect();
    assert_eq!(family, [(&json!(all[0]), &json!(-1)), (&json!(all[7]), &json!(0))]);
    assert!(telekeep.does(&["job", "show", &first]).contains("generation"));
    assert!(!telekeep.does(&["job", "show", &second]).contains("generation"), "it has no family");

    let told = telekeep.does(&["job", "retry", "--kind", "history_fetch", "--dry-run"]);
    assert!(told.ends_with("3 jobs; nothing was changed\n"), "{told}");
    for state in ["dead", "held", "cancelled"] {
        let is_counted = |line: &str| line.contains(state) && line.split_whitespace().any(|cell| cell == "1");
        assert!(told.lines().any(is_counted), "{state} in {told}");
    }
    assert_eq!((listed(&telekeep, &["--state", "dead"]), noted(&telekeep, &["--what", "job"])), (vec![all[1]], vec![]));
    for (arguments, says) in [
        (&["job", "cancel"][..], "say which jobs"),
        (&["job", "cancel", "--dry-run"], "say which jobs"),
        (&["job", "cancel", "--account", "nobody"], "there is no account nobody"),
        (&["job", "retry", "--error", ""], "a value is required"),
        (&["job", "priority", "9", "--all"], "1..=4"),
    ] {
        let told = telekeep.refuses(arguments);
        assert!(told.contains(says), "{arguments:?}: {told}");
    }

    assert_eq!(telekeep.does(&["job", "retry", "--error", "the harbour is CLOSED"]), "1 jobs to run again\n");
    assert_eq!(telekeep.does(&["job", "hold", "--chat", "-1000000000104"]), "1 jobs paused\n");
    assert_eq!(listed(&telekeep, &["--state", "held"]), [all[4], all[2]]);
    let told = telekeep.does(&["job", "resume", "--all", "--dry-run"]);
    assert!(told.ends_with("1 jobs; nothing was changed\n"), "only what was paused: {told}");
    assert_eq!(telekeep.does(&["job", "priority", "1", "--parent", &first]), "1 jobs of priority 1 now\n");
    assert_eq!(read(&telekeep.does(&["job", "show", &all[7].to_string(), "--json"]))["job"]["priority"], 1);
    assert_eq!(telekeep.does(&["job", "release", "--account", "0", "--state", "held"]), "2 jobs released\n");
    assert_eq!(telekeep.does(&["job", "cancel", "--kind", "chat_refresh"]), "1 jobs cancelled, or told to stop\n");

    let log = noted(&telekeep, &["--what", "job"]);
    assert_eq!(whats(&log), ["job.cancel", "job.release", "job.priority", "job.pause", "job.retry"]);
    assert!(log.iter().all(|entry| entry["who"].as_str().unwrap().starts_with("cli:") && entry["detail"]["touched"].is_u64()));
    assert_eq!((&log[2]["detail"]["priority"], &log[2]["detail"]["parent"]), (&json!(1), &json!(all[0])));
    assert_eq!(log[3]["detail"]["chat"], -1_000_000_000_104_i64);
    assert!(!json!(log).to_string().to_lowercase().contains("closed"), "an error's text stays out of the log");
    let older = noted(&telekeep, &["--what", "job", "--limit", "2", "--before", &log[1]["id"].to_string()]);
    assert_eq!(older, log[2..4]);
    assert_eq!(noted(&telekeep, &["--what", "job.retry", "--who", log[0]["who"].as_str().unwrap()]), log[4..]);
    assert_eq!(noted(&telekeep, &["--who", "nobody"]), [] as [Value; 0]);
    assert!(telekeep.does(&["audit-log", "list"]).contains("job.cancel"));
}

/// What `telekeep search` tells, in the index or without one.
fn finds(telekeep: &Telekeep, has_index: bool, arguments: &[&str]) -> Value {
    let mut command = searches(telekeep, has_index, arguments);
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    read(&String::from_utf8(output.stdout).unwrap())
}

fn searches(telekeep: &Telekeep, has_index: bool, arguments: &[&str]) -> Command {
    let mut command = telekeep.command(&[&["search"][..], arguments].concat());
    if !has_index {
        command.env_remove("ELASTICSEARCH_URL");
    }
    command
}

fn found(told: &Value) -> Vec<i64> {
    told["hits"].as_array().unwrap().iter().map(|hit| hit["message_id"].as_i64().unwrap()).collect()
}

/// An export of a group with four messages, each a day after the other, the first on 2023-11-15 at 22:13:20 UTC.
fn exported(id: i64) -> Vec<u8> {
    let says = |id: i64, from: i64, text: &str| {
        let date = (1_700_000_000 + id * 86_400).to_string();
        json!({ "id": id, "type": "message", "date_unixtime": date, "from": "Ann", "from_id": format!("user{from}"), "text": text })
    };
    let mut picture = says(4, 8, "a picture of a ship");
    picture["photo"] = "photos/1.jpg".into();
    let messages = [
        says(1, 9, "The old ship leaves"),
        says(2, 8, "A ship comes back"),
        says(3, 9, "Το πλοίο έφυγε από το λιμάνι νωρίς το πρωί"),
        picture,
    ];
    serde_json::to_vec(&json!({ "name": "Quay", "type": "private_supergroup", "id": id, "messages": messages })).unwrap()
}

/// As `curl` asks Elasticsearch.
fn asks_elasticsearch(method: &str, path: &str) {
    let server = std::env::var("ELASTICSEARCH_URL").unwrap();
    let address = format!("{server}/{path}");
    let status = Command::new("curl").args(["-fsS", "-o", "/dev/null", "-X", method, &address]).status().unwrap();
    assert!(status.success(), "{method} {path}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_search_has_filters_and_pages_in_the_index_and_in_the_record(pool: PgPool) {
    let datacentre = crate::installation::datacentre(World::generated(3, [])).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = "-1000000000077";
    std::fs::write(telekeep.path("quay.json"), exported(77)).unwrap();
    telekeep.does(&["import", "quay.json", "--watch"]);
    let worker = telekeep.works();
    until("an empty outbox", || async { outbox(&pool).await == 0 }).await;
    worker.kill();
    until("the index to show them", || async { finds(&telekeep, true, &["--chat", chat])["total"] == 4 }).await;

    for (has_index, place) in [(true, "index"), (false, "record")] {
        for (filters, expected) in [
            (&["ship", "--sort", "newest"][..], &[4, 2, 1][..]),
            (&["--chat", chat], &[4, 3, 2, 1]),
            (&["ship", "--chat", "-1000000000078"], &[]),
            (&["ship", "--sender", "9"], &[1]),
            (&["--sender", "9"], &[3, 1]),
            (&["--since", "2023-11-17"], &[4, 3]),
            (&["ship", "--until", "2023-11-17", "--sort", "newest"], &[2, 1]),
            (&["--since", "2023-11-16T22:13:20Z", "--until", "2023-11-17T22:13:20Z"], &[2]),
            (&["--media-type", "photo"], &[4]),
            (&["--language", "ell"], &[3]),
        ] {
            let told = finds(&telekeep, has_index, filters);
            assert_eq!((found(&told).as_slice(), &told["place"]), (expected, &json!(place)), "{filters:?}");
        }
        let told = finds(&telekeep, has_index, &["ship", "--sender", "9"]);
        assert!(told["hits"][0]["highlight"].as_str().unwrap().contains("<em>ship</em>"), "{told}");

        let page = finds(&telekeep, has_index, &["--chat", chat, "--limit", "3"]);
        assert_eq!((found(&page), &page["total"], &page["total_is_exact"]), (vec![4, 3, 2], &json!(4), &json!(true)));
        let next = page["next"].as_str().unwrap();
        let rest = finds(&telekeep, has_index, &["--chat", chat, "--limit", "3", "--cursor", next]);
        assert_eq!((found(&rest), &rest["next"]), (vec![1], &Value::Null));
        let elsewhere = searches(&telekeep, !has_index, &["--chat", chat, "--limit", "3", "--cursor", next]).output().unwrap();
        let told = [elsewhere.stdout, elsewhere.stderr].map(|told| String::from_utf8(told).unwrap()).concat();
        let says = if has_index { "began in the index, and ELASTICSEARCH_URL is not set" } else { "1 of 4 hits, from the record" };
        assert!(told.contains(says), "{told}");
        for wrong in [&["--chat", chat, "--cursor", "WzFd"][..], &["ship", "--since", "yesterday"], &[]] {
            assert_eq!(searches(&telekeep, has_index, wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
        }
    }
    let told = telekeep.does(&["search", "ship", "--limit", "1"]);
    assert!(told.contains("1 of 3 hits, from the index") && told.contains("--cursor "), "{told}");

    // What goes from the index comes back, and is noted; so is a new index.
    asks_elasticsearch("DELETE", &format!("{}-message/_doc/{chat}_2?refresh=true", telekeep.prefix));
    let told = telekeep.does(&["audit"]);
    assert!(told.contains("a second look found none"), "{told}");
    telekeep.does(&["audit"]);
    telekeep.does(&["reindex"]);
    for kind in telekeep::record::outbox::Kind::ALL {
        asks_elasticsearch("DELETE", &format!("{}-{kind}-v2", telekeep.prefix));
    }
    let log = read(&telekeep.does(&["audit-log", "list", "--json"])).as_array().unwrap().clone();
    assert_eq!(whats(&log), ["index.rebuild", "audit.repair", "import", "chat.watch", "account.import"]);
    assert_eq!((&log[1]["target"], &log[1]["detail"]["repaired"]), (&json!("index"), &json!(1)));
}

/// An invite that nobody is to read in a log.
const INVITE: &str = "RoOmSeCrEtInViTe";

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_change_by_a_command_is_noted_without_a_secret(pool: PgPool) {
    let media = MediaMix { documents: 1.0, document_bytes: Some([1_000, 1_000]), ..MediaMix::none() };
    let chats = [
        GeneratedChat::new(ChatKind::Channel, "Depot", 20).named("depot").media(media),
        GeneratedChat::new(ChatKind::Supergroup, "Room", 20),
    ];
    let datacentre = datacentre(World::generated(7, chats)).await;
    let [depot, room] = [0, 1].map(|at| datacentre.world().chats()[at].id);
    datacentre.play(Event::InviteLink { chat: room, hash: INVITE.into(), revoked: false, approval: false }).unwrap();
    let telekeep = Installed::at(&datacentre, &pool);
    let id = depot.to_string();
    telekeep.does(&["collect", &id]);

    telekeep.does(&["chat", "tag", "@depot", "goods", "north"]);
    let watched = read(&telekeep.does(&["chat", "list", "--json"]));
    assert_eq!(watched[0]["tags"], json!(["goods", "north"]));
    for bad in ["two words", "one,two"] {
        assert!(telekeep.refuses(&["chat", "tag", &id, bad]).contains("no spaces and no commas"));
    }
    telekeep.refuses(&["chat", "tag", &id]);
    assert!(telekeep.refuses(&["chat", "tag", &room.to_string(), "far"]).contains("is not watched"));
    telekeep.does(&["chat", "tag", &id, "--none"]);
    assert_eq!(read(&telekeep.does(&["chat", "list", "--json"]))[0]["tags"], json!([]));

    assert!(!listed(&telekeep, &["--account", "keeper", "--kind", "chat_refresh"]).is_empty());
    let paused = || {
        let partitions = read(&telekeep.does(&["job", "partitions", "--json"]));
        partitions.as_array().unwrap().iter().filter(|it| it["paused"] == true).count()
    };
    telekeep.does(&["job", "pause-partition", "keeper"]);
    assert_eq!(paused(), 1);
    telekeep.does(&["job", "resume-partition", "keeper"]);
    assert_eq!(paused(), 0);
    assert!(telekeep.refuses(&["job", "pause-partition", "77"]).contains("there is no partition 77"));

    telekeep.does(&["file", "want", "--chat", "@depot"]);
    telekeep.does(&["chat", "join", "@depot"]);
    std::fs::write(telekeep.path("wanted"), format!("https://t.me/+{INVITE}\n")).unwrap();
    telekeep.does(&["chat", "join", "--file", "wanted"]);
    telekeep.does(&["chat", "join", "--file", "wanted"]);
    telekeep.does(&["chat", "leave", &id, "--account", "keeper"]);
    telekeep.does(&["dead-letter", "retry"]);
    std::fs::write(telekeep.path("quay.json"), exported(77)).unwrap();
    telekeep.refuses(&["import", "quay.json"]);
    telekeep.does(&["import", "quay.json", "--watch"]);
    telekeep.does(&["key", "rotate"]);

    // A row that went from the record comes back from Telegram.
    let gone: i64 = telekeep.documents(depot)[5]["message_id"].as_i64().unwrap();
    let done = sqlx::query("delete from message where chat_id = $1 and message_id = $2").bind(depot).bind(gone);
    assert_eq!(done.execute(&pool).await.unwrap().rows_affected(), 1);
    assert_eq!(telekeep.runs(&["audit", "--telegram", "--no-repair", &id]).status.code(), Some(1));
    let repaired = telekeep.runs(&["audit", "--telegram", &id]);
    assert!(String::from_utf8_lossy(&repaired.stdout).contains("what was found is mended"), "{repaired:?}");

    // As an older version stored one of them.
    telekeep.does(&["raw", "retry"]);
    let one = telekeep.documents(depot)[9]["message_id"].as_i64().unwrap();
    let bytes = datacentre.world().chat(depot).unwrap().message(i32::try_from(one).unwrap()).unwrap().to_bytes();
    let statement = "update message set raw = $3, raw_reason = 'poll is not represented', body = '{\"text\": \"in part\"}',
        content_hash = '\\x00', order_pts = 7 where chat_id = $1 and message_id = $2";
    sqlx::query(statement).bind(depot).bind(one).bind(bytes).execute(&pool).await.unwrap();
    assert!(telekeep.does(&["raw", "retry", "--chat", &id]).starts_with("1 are whole now"));

    telekeep.does(&["chat", "unwatch", &id]);
    telekeep.does(&["chat", "unwatch", &id]);

    let mut log = noted(&telekeep, &["--limit", "100"]);
    log.reverse();
    assert_eq!(
        whats(&log),
        [
            "account.import",
            "chat.watch",
            "chat.fetch",
            "chat.tags",
            "chat.tags",
            "partition.pause",
            "partition.resume",
            "file.want",
            "chat.join",
            "chat.join",
            "chat.leave",
            "dead_letter.retry",
            "chat.watch",
            "import",
            "key.rotate",
            "audit.repair",
            "raw.retry",
            "chat.unwatch",
        ]
    );
    let of = |what: &str| log.iter().find(|entry| entry["what"] == what).unwrap();
    assert_eq!(of("file.want")["detail"]["chat"], depot, "the chat's id, not what was written for it");
    let joins: Vec<&Value> = log.iter().filter(|it| it["what"] == "chat.join").map(|it| &it["detail"]["of"]).collect();
    assert_eq!(joins, [&json!("@depot"), &Value::Null]);
    for what in ["chat.leave", "audit.repair", "raw.retry", "chat.unwatch"] {
        assert_eq!(of(what)["target"], format!("chat {depot}"), "{what}");
    }
    assert_eq!(
        (&of("import")["detail"]["chats"], &of("import")["detail"]["account"]),
        (&json!([-1_000_000_000_077_i64]), &json!("keeper"))
    );
    let all = json!(log).to_string();
    assert!(!all.contains(&INVITE[..4]) && !all.contains("quay.json"), "{all}");
}
