//! Triggers and workflows: what happens to a chat, which runs come of it, and how people see them. On real Postgres; no Telegram.

use std::path::Path;

use chrono::{DateTime, Utc};
use insta::assert_snapshot;
use sqlx::{PgConnection, PgPool};
use telekeep::jobs::KINDS;
use telekeep::record::coverage::{self, Access, Window};
use telekeep::record::ledger;
use telekeep::record::selection::{self, Selection};
use telekeep::record::watch::{self, NewWatch};
use telekeep::record::{ChatId, Via, event};
use telekeep::trigger::{cron, listener};
use telekeep::workflow::{Workflows, file, run};
use telekeep_queue as queue;

use crate::bad_input::Somebody;
use crate::record::{LIBRARY, begin, library, observation, open};

/// The workflows of these files.
fn workflows(texts: &[&str]) -> Workflows {
    let parsed = texts.iter().map(|text| file::parse(Path::new("workflows/x.toml"), text, KINDS).expect("a valid file"));
    parsed.map(|workflow| (workflow.name.clone(), workflow)).collect()
}

/// One that refreshes a chat on these events.
fn on(name: &str, events: &str) -> String {
    format!("name = \"{name}\"\n[trigger]\nlistener = [{events}]\n[[step]]\nname = \"refresh\"\njob = \"chat_refresh\"\n")
}

pub(crate) async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.expect("a count")
}

async fn runs(pool: &PgPool) -> i64 {
    count(pool, "select count(*) from workflow_run").await
}

pub(crate) async fn job_keys(pool: &PgPool, kind: &str) -> Vec<String> {
    let jobs = queue::list(pool, queue::Filter { kind: Some(kind.into()), unfinished: true, ..Default::default() }).await;
    let mut keys: Vec<String> = jobs.expect("jobs").into_iter().filter_map(|job| job.unique_key).collect();
    keys.sort();
    keys
}

/// Every unfinished job ends in this state, as if a worker had done it.
pub(crate) async fn jobs_end(pool: &PgPool, state: &str, progress: Option<i64>, seconds_ago: f64) {
    sqlx::query(
        "with ended as (
             update job set state = $1, outcome = $1, progress_done = $2, finished_at = clock_timestamp() - make_interval(secs => $3)
             where state in ('available', 'scheduled', 'held') returning *
         )
         insert into job_finished (job, kind, state, outcome, finished_at) select id, kind, state, outcome, finished_at from ended",
    )
    .bind(state)
    .bind(progress)
    .bind(seconds_ago)
    .execute(pool)
    .await
    .expect("ended");
}

async fn advance(pool: &PgPool) {
    run::advance_all(pool).await.expect("advanced");
}

pub(crate) async fn watches(conn: &mut PgConnection, chats: impl IntoIterator<Item = i64>) {
    for chat in chats {
        watch::watch(conn, &NewWatch::new(ChatId(chat))).await.expect("watched");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_opens_one_run_of_each_workflow_that_listens_over_any_number_of_nodes(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let files = [on("changed", "\"chat.changed\", \"chat.left\""), on("also", "\"chat.changed\""), on("other", "\"chat.joined\"")];
    let workflows = workflows(&files.each_ref().map(String::as_str));
    let chats: Vec<i64> = (1..=40).map(|n| -1_000_000_000_100 - n).collect();
    watches(&mut conn, chats.iter().copied()).await;
    for _ in 0..3 {
        for chat in &chats {
            event::note(&mut conn, ChatId(*chat), event::CHANGED, Some(reader)).await.expect("noted");
        }
    }
    event::note(&mut conn, ChatId(-1_000_000_099_999), event::CHANGED, None).await.expect("of no watched chat");
    assert_eq!(count(&pool, "select count(*) from chat_event").await, 120);

    let nodes = (0..4).map(|_| {
        let (pool, workflows) = (pool.clone(), workflows.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                listener::consume_all(&pool, &workflows).await.expect("consumed");
            }
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("a node");
    }
    let opened: Vec<(String, i64, i64)> = sqlx::query_as(
        "select workflow, count(*), count(distinct chat_id) from workflow_run where state = 'running' group by 1 order by 1",
    )
    .fetch_all(&pool)
    .await
    .expect("runs");
    assert_eq!(opened, [("also".into(), 40, 40), ("changed".into(), 40, 40)]);
    assert_eq!(runs(&pool).await, 80);
    assert_eq!(count(&pool, "select (select count(*) from chat_event) + (select count(*) from workflow_wish)").await, 0);
    assert_eq!(job_keys(&pool, "chat_refresh").await.len(), 40, "both workflows wait for the same job");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_that_comes_while_a_run_is_open_opens_one_further_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let workflows = workflows(&[&on("changed", "\"chat.changed\"")]);
    event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    for _ in 0..3 {
        event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
        assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    }
    assert_eq!(runs(&pool).await, 1, "and none is recorded as skipped");
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    assert_eq!(runs(&pool).await, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_joined_is_no_longer_refused_and_nobody_else(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let lost = Access { readable: false, visible_from: 1, reason: Some("CHANNEL_PRIVATE".into()) };
    for (happened, account, is_inaccessible) in
        [(event::CHANGED, Some(reader), true), (event::JOINED, None, true), (event::JOINED, Some(reader), false)]
    {
        coverage::set_access(&mut conn, LIBRARY, reader, &lost).await.expect("access");
        event::note(&mut conn, LIBRARY, happened, account).await.expect("noted");
        assert_eq!(coverage::is_inaccessible(&mut conn, LIBRARY).await.expect("read"), is_inaccessible, "{happened}");
    }
    let limited = Access { readable: true, visible_from: 9, reason: None };
    coverage::set_access(&mut conn, LIBRARY, reader, &limited).await.expect("access");
    event::note(&mut conn, LIBRARY, event::JOINED, Some(reader)).await.expect("noted");
    assert_eq!(coverage::visible_from(&mut conn, LIBRARY, reader).await.expect("read"), 9, "what it sees stays known");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_job_that_was_spread_begins_when_another_run_waits_for_it(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let spread = format!("{}spread = \"3h\"\n", on("spread", "\"chat.joined\""));
    let workflows = workflows(&[&spread, &on("now", "\"chat.changed\"")]);
    event::note(&mut conn, LIBRARY, event::JOINED, None).await.expect("noted");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    let later = "select count(*) from job where state = 'scheduled' and run_at between now() + interval '1 minute' and now() + interval '3 hours'";
    assert_eq!(count(&pool, later).await, 1);
    event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    assert_eq!(count(&pool, "select count(*) from job where state = 'available'").await, 1);
    assert_eq!(count(&pool, "select count(*) from job").await, 1);
    assert_eq!(count(&pool, "select count(*) from step_job").await, 2, "both runs wait for it");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_rolled_back_never_was_and_a_watch_begins_its_own_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let workflows = workflows(&[&on("new", "\"chat.watched\"")]);
    let mut tx = pool.begin().await.expect("a transaction");
    event::note(&mut tx, LIBRARY, event::WATCHED, None).await.expect("noted");
    assert_eq!(listener::consume_now(&mut tx, &workflows, LIBRARY).await.expect("consumed").runs.len(), 1);
    tx.rollback().await.expect("rolled back");
    assert_eq!(runs(&pool).await, 0);
    let other = ChatId(-1_000_000_000_043);
    watches(&mut conn, [other.0]).await;
    event::note(&mut conn, other, event::WATCHED, None).await.expect("noted");
    let mut tx = pool.begin().await.expect("a transaction");
    event::note(&mut tx, LIBRARY, event::WATCHED, None).await.expect("noted");
    assert_eq!(listener::consume_now(&mut tx, &workflows, LIBRARY).await.expect("consumed").runs.len(), 1);
    tx.commit().await.expect("committed");
    assert_eq!(runs(&pool).await, 1, "another chat's event is left to the consumer");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_is_not_selected_or_not_watched_any_more_has_no_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let text = format!("{}[select]\ntags = [\"books\"]\n", on("books", "\"chat.changed\""));
    let workflows = workflows(&[&text]);
    let tagged = NewWatch { tags: vec!["books".into()], ..NewWatch::new(ChatId(-1_000_000_000_043)) };
    watch::watch(&mut conn, &tagged).await.expect("watched");
    for chat in [LIBRARY, tagged.chat] {
        event::note(&mut conn, chat, event::CHANGED, None).await.expect("noted");
    }
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    event::note(&mut conn, tagged.chat, event::CHANGED, None).await.expect("noted");
    watch::unwatch(&mut conn, tagged.chat).await.expect("unwatched");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    assert_eq!(count(&pool, "select count(*) from workflow_wish").await, 0);
}

/// The chats that a selection means.
async fn means(conn: &mut PgConnection, selection: Selection<'_>) -> Vec<i64> {
    selection::selected(conn, &selection, None).await.expect("selected").into_iter().map(|chat| chat.0).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_selection_means_tags_kinds_and_chats(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let tagged =
        |chat: i64, tags: &[&str]| NewWatch { tags: tags.iter().map(ToString::to_string).collect(), ..NewWatch::new(ChatId(chat)) };
    let (books, ships, group) = (-1_000_000_000_001, -1_000_000_000_002, -3);
    for wish in [tagged(books, &["books", "old"]), tagged(ships, &["ships"]), tagged(group, &[])] {
        watch::watch(&mut conn, &wish).await.expect("watched");
    }
    for (chat, kind) in [(books, "channel"), (ships, "supergroup"), (group, "group")] {
        let row = "insert into chat (chat_id, type, body, content_hash, via) values ($1, $2, '{}', '', 'live')";
        sqlx::query(row).bind(chat).bind(kind).execute(&mut *conn).await.expect("a chat");
    }
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let all = means(&mut conn, Selection::default()).await;
    assert_eq!(all, [LIBRARY.0, ships, books, group]);
    assert_eq!(means(&mut conn, Selection { tags: &words(&["old", "ships"]), ..Selection::default() }).await, [ships, books]);
    assert_eq!(means(&mut conn, Selection { tags: &words(&["new"]), ..Selection::default() }).await, [0; 0]);
    // What the library is, nobody was told yet: it is not left out.
    assert_eq!(means(&mut conn, Selection { kinds: &words(&["group"]), ..Selection::default() }).await, [LIBRARY.0, group]);
    assert_eq!(means(&mut conn, Selection { chats: &[group, -99], ..Selection::default() }).await, [group]);
    let both = Selection { chats: &[books, group], tags: &words(&["books"]), ..Selection::default() };
    assert_eq!(means(&mut conn, both).await, [books]);
    let only = selection::selected(&mut conn, &Selection::default(), Some(&[ChatId(ships), ChatId(-99)])).await.expect("selected");
    assert_eq!(only, [ChatId(ships)]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn incomplete_means_missing_stale_or_not_confirmed_and_nothing_else(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let tick = "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().expect("a date");
    let incomplete = async |conn: &mut PgConnection, since| {
        let selection = Selection { incomplete_since: Some(since), ..Selection::default() };
        !means(conn, selection).await.is_empty()
    };
    assert!(incomplete(&mut conn, tick).await, "it has no ledger yet");
    // Pushed from the first id on, and imported: each row settles itself.
    let seen = observation(reader, Via::Live, Some(8));
    ledger::commit_messages(&mut conn, LIBRARY, &library(1..=6), &seen).await.expect("pushed");
    let ledger = open(&mut conn, reader).await;
    assert!(incomplete(&mut conn, tick).await, "its newest id was never confirmed");
    coverage::confirm_top(&mut conn, ledger.id, 6).await.expect("a top");
    assert!(!incomplete(&mut conn, tick).await);
    let later = "2100-01-01T00:00:00Z".parse().expect("a date");
    assert!(incomplete(&mut conn, later).await, "not confirmed since the last tick");

    ledger::commit_messages(&mut conn, LIBRARY, &library([9]), &seen).await.expect("pushed");
    assert!(incomplete(&mut conn, tick).await, "7 and 8 are missing");
    coverage::set_floor(&mut conn, ledger.id, 9).await.expect("a floor");
    assert!(!incomplete(&mut conn, tick).await, "they are below the floor");
    coverage::set_floor(&mut conn, ledger.id, 1).await.expect("a floor");
    let limited = Access { readable: true, visible_from: 9, reason: None };
    coverage::set_access(&mut conn, LIBRARY, reader, &limited).await.expect("access");
    assert!(!incomplete(&mut conn, tick).await, "nobody can see them");
    coverage::mark_stale(&mut conn, ledger.id, Window { from: 9, to: 9 }).await.expect("marked");
    assert!(incomplete(&mut conn, tick).await, "one is stale");
    let lost = Access { readable: false, ..limited };
    coverage::set_access(&mut conn, LIBRARY, reader, &lost).await.expect("access");
    assert!(!incomplete(&mut conn, tick).await, "nobody can read it");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_pause_keeps_events_and_the_missed_policy_decides_on_ticks(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let cron_of = |name: &str, missed: &str| {
        format!(
            "name = \"{name}\"\n[trigger.cron]\nschedule = \"0 0 * * * *\"\nmissed = \"{missed}\"\n[[step]]\nname = \"r\"\njob = \"chat_refresh\"\n"
        )
    };
    let texts = [cron_of("all", "all"), cron_of("latest", "latest"), on("heard", "\"chat.changed\"")];
    let workflows = workflows(&texts.each_ref().map(String::as_str));
    for name in ["all", "latest"] {
        assert_eq!(cron::tick(&pool, &workflows[name]).await.expect("a tick"), 0, "nothing before it was first seen");
    }
    sqlx::query("update workflow_tick set last_tick = date_trunc('hour', now()) - interval '3 hours'")
        .execute(&pool)
        .await
        .expect("past");
    for name in workflows.keys() {
        assert!(telekeep::record::workflow::pause(&mut conn, name, Some("holidays")).await.expect("paused"));
    }
    event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
    for name in ["all", "latest"] {
        assert_eq!(cron::tick(&pool, &workflows[name]).await.expect("a tick"), 0);
    }
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    assert_eq!(runs(&pool).await, 0);

    for name in workflows.keys() {
        assert!(telekeep::record::workflow::resume(&mut conn, name).await.expect("resumed"));
    }
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    assert_eq!(cron::tick(&pool, &workflows["latest"]).await.expect("a tick"), 1);
    // Three ticks of one chat: the first has its run, and finds the others skipped, which is recorded.
    assert_eq!(cron::tick(&pool, &workflows["all"]).await.expect("a tick"), 1);
    assert_eq!(count(&pool, "select count(*) from workflow_run where workflow = 'all' and state = 'skipped'").await, 2);
}

/// Dates with times made equal.
fn without_times(text: &str) -> String {
    const LENGTH: usize = "2026-01-01T03:00:00".len();
    let is_time = |at: usize| {
        text.get(at..at + LENGTH)
            .filter(|t| t.starts_with('2'))
            .is_some_and(|t| chrono::NaiveDateTime::parse_from_str(&t.replace('T', " "), "%F %T").is_ok())
    };
    let (mut told, mut at) = (String::new(), 0);
    while let Some(next) = text[at..].chars().next() {
        if is_time(at) {
            told.push_str("YYYY-MM-DD HH:MM:SS");
            at += LENGTH;
        } else {
            told.push(next);
            at += next.len_utf8();
        }
    }
    told
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_workflow_is_shown_with_what_blocks_its_runs(pool: PgPool) {
    begin(&pool).await;
    let somebody = Somebody::at(&pool);
    let text = include_str!("../../workflows/nightly-backfill.toml");
    somebody.writes("workflows/nightly-backfill.toml", text);
    let workflows = workflows(&[text]);
    let workflow = &workflows["nightly-backfill"];
    for tick in ["2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"] {
        let mut tx = pool.begin().await.expect("a transaction");
        let tick = tick.parse().expect("a date");
        run::open(&mut tx, workflow, tick, "cron", &[LIBRARY]).await.expect("opened");
        tx.commit().await.expect("committed");
    }
    sqlx::query("update job set state = 'held', outcome = 'held', error = 'no reader', hint = 'import an account'")
        .execute(&pool)
        .await
        .expect("held");
    let paused = somebody.is_told(&["workflow", "pause", "nightly-backfill", "--reason", "moving house"], &[]).await;
    assert_snapshot!(paused, @r#"
    nightly-backfill is paused; `telekeep workflow resume nightly-backfill` lets it go on
    exit 0
    "#);
    assert_snapshot!(without_times(&somebody.is_told(&["workflow", "show", "nightly-backfill"], &[]).await), @r#"
    nightly-backfill: Close every hole that live listening left.
    trigger   0 0 3 * * * UTC
    paused    since YYYY-MM-DD HH:MM:SS: moving house
    chats     1 now (channel or supergroup or forum or group or private or bot, incomplete)
    steps     refresh: chat_refresh
              └─ history: history_fetch, priority 3, fails 8 times at most
    jobs      1 held
    ┌─────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
    │ run   chat             trigger   tick                   state     steps                                     │
    ╞═════════════════════════════════════════════════════════════════════════════════════════════════════════════╡
    │ 2     -1000000000042   cron      YYYY-MM-DD HH:MM:SSZ   skipped   a run was still open                      │
    │ 1     -1000000000042   cron      YYYY-MM-DD HH:MM:SSZ   blocked   refresh running (1 left), history waiting │
    └─────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
    run 1 waits for job 1 (chat_refresh), which is held: no reader
      to do: import an account
    exit 0
    "#);
    assert_snapshot!(somebody.is_told(&["workflow", "runs"], &[]).await, @r#"
    ┌────────────────────────────────────────────────────────────────────────────────────┐
    │ run   workflow           chat             trigger   tick                   state   │
    ╞════════════════════════════════════════════════════════════════════════════════════╡
    │ 2     nightly-backfill   -1000000000042   cron      2026-01-02T03:00:00Z   skipped │
    │ 1     nightly-backfill   -1000000000042   cron      2026-01-01T03:00:00Z   blocked │
    └────────────────────────────────────────────────────────────────────────────────────┘
    run 1 waits for job 1 (chat_refresh), which is held: no reader
      to do: import an account
    exit 0
    "#);
    assert_snapshot!(somebody.is_told(&["workflow", "run", "nightly-backfill"], &[]).await, @r#"
    error: nightly-backfill is paused; `telekeep workflow resume nightly-backfill` lets it go on
    exit 2
    "#);
    assert_snapshot!(somebody.is_told(&["workflow", "resume", "nightly-backfill"], &[]).await, @r#"
    nightly-backfill goes on
    exit 0
    "#);
    let json = somebody.is_told(&["workflow", "show", "nightly-backfill", "--json"], &[]).await;
    let view: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(view["next_ticks"].as_array().map(Vec::len), Some(3));
    assert_eq!(view["runs"][1]["state"], "blocked");
    assert_eq!(view["runs"][1]["held"][0]["hint"], "import an account");
    assert_eq!(view["runs"][0]["state"], "skipped");
    assert_eq!((&view["jobs"]["held"], &view["selected_chats"]), (&1.into(), &1.into()));
    assert_snapshot!(somebody.is_told(&["workflow", "show", "nightly"], &[]).await, @r#"
    error: there is no workflow "nightly"; known are nightly-backfill
    exit 2
    "#);
}

#[test]
fn the_files_that_come_with_it_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let workflows = file::load(&folder, KINDS).expect("valid files");
    let names: Vec<&str> = workflows.keys().map(String::as_str).collect();
    assert_eq!(names, ["chat-changed", "counts", "members", "new-chat", "nightly-backfill", "refresh"]);
}
