//! Jobs of a worker in this process against the simulated datacentre: counts over time, and chats that come back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use telekeep::account::{Accounts, LostKey, SessionFile, find};
use telekeep::jobs;
use telekeep::record::report::coverage_report;
use telekeep::record::sampling;
use telekeep::record::watch::{self, NewWatch};
use telekeep::record::{ChatId, coverage};
use telekeep::telegram::TelegramConfig;
use telekeep_queue as queue;
use telekeep_simulator::world::Event;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{Fault, Options, Simulator, World};

/// An installation of Telekeep in this process, with one account and one watched chat.
struct Collector {
    pool: PgPool,
    accounts: Arc<Accounts>,
    chat: ChatId,
    _folder: tempfile::TempDir,
}

impl Collector {
    async fn watching(pool: PgPool, datacentre: &Simulator, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Arc::new(Accounts::new(pool.clone(), TelegramConfig::new(1, "hash"), folder.path().join("seal.key")));
        let told = serde_json::to_vec(&datacentre.account("keeper").unwrap()).unwrap();
        let session = SessionFile::parse(Path::new("keeper.json"), &told).unwrap().session();
        accounts.import("keeper", &session, LostKey::Refuse).await.unwrap();
        let found = find::chat(&accounts, name).await.unwrap();
        let wish = NewWatch { reader: Some(found.account), ..NewWatch::new(found.chat) };
        watch::watch(&mut pool.acquire().await.unwrap(), &wish).await.unwrap();
        Self { pool, accounts, chat: found.chat, _folder: folder }
    }

    /// Enqueues what a kind plans and works until nothing is left to do. Gives how many jobs were planned.
    async fn does(&self, kind: &str) -> usize {
        let mut tx = self.pool.begin().await.unwrap();
        let planned = jobs::plan(&mut tx, kind, self.chat).await.unwrap();
        let (enqueued, _wake) = queue::enqueue(&mut tx, &planned).await.unwrap();
        tx.commit().await.unwrap();
        let shutdown = tokio_util::sync::CancellationToken::new();
        let holder = Some(self.accounts.node().await.unwrap().holder());
        let config = queue::WorkerConfig { holder, ..queue::WorkerConfig::new("test") };
        let worker = jobs::worker(self.pool.clone(), self.accounts.clone(), telekeep::media::Keeping::nothing(), config);
        let working = tokio::spawn(worker.run(shutdown.clone()));
        let begun = telekeep::clock::mark();
        let left = loop {
            let open = queue::Filter { unfinished: true, ..queue::Filter::default() };
            let left = queue::list(&self.pool, open).await.unwrap();
            if left.iter().all(|job| job.state == queue::State::Held) || begun.elapsed() > Duration::from_secs(60) {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        shutdown.cancel();
        working.await.unwrap().unwrap();
        assert!(left.is_empty(), "{left:?}");
        enqueued.len()
    }

    async fn points(&self) -> Vec<(i64, Option<i64>, Option<i64>, Option<serde_json::Value>)> {
        let points = sqlx::query_as("select message_id, views, forwards, reactions from metric order by message_id, scheduled_at");
        points.fetch_all(&self.pool).await.unwrap()
    }

    /// As if every message had been posted so long ago.
    async fn posted(&self, ago: &str) {
        sqlx::query("update message set date = date_trunc('hour', now()) - $1::text::interval")
            .bind(ago)
            .execute(&self.pool)
            .await
            .unwrap();
    }
}

async fn datacentre() -> Simulator {
    let chats = [
        GeneratedChat::new(ChatKind::Channel, "Harbour", 250).named("harbour"),
        GeneratedChat::new(ChatKind::Supergroup, "Quay", 30).named("quay"),
    ];
    Simulator::start(World::generated(7, chats), Options::default()).await.unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn counts_are_sampled_once_a_step_a_hundred_ids_a_call(pool: PgPool) {
    let datacentre = datacentre().await;
    let collector = Collector::watching(pool, &datacentre, "harbour").await;
    let chat = collector.chat;
    collector.does("chat_refresh").await;
    collector.does("history_fetch").await;
    assert_eq!(collector.does("count_sample").await, 0, "a history of years is not due");

    collector.posted("2 days").await;
    let posts: Vec<i64> = sqlx::query_scalar("select message_id from message where not body ? 'service' order by 1")
        .fetch_all(&collector.pool)
        .await
        .unwrap();
    let (first, last) = (posts[0], posts[posts.len() - 1]);
    let id = i32::try_from(last).unwrap();
    datacentre.play(Event::Counts { chat: chat.0, id, views: Some(4_242), forwards: Some(7) }).unwrap();
    let user = datacentre.account("keeper").unwrap().user_id.unwrap();
    datacentre.play(Event::React { chat: chat.0, id, user, emoji: Some("🔥".into()) }).unwrap();
    datacentre.play(Event::Delete { chat: chat.0, ids: vec![i32::try_from(first).unwrap()] }).unwrap();

    assert_eq!(collector.does("count_sample").await, 1);
    assert_eq!(datacentre.calls("channels.getMessages"), (posts.len() as u64).div_ceil(100));
    let points = collector.points().await;
    assert_eq!(points.len(), posts.len() - 1, "one for each that exists");
    let (_, views, forwards, reactions) = points.last().unwrap();
    assert_eq!((*views, *forwards), (Some(4_242), Some(7)));
    assert!(reactions.as_ref().unwrap().to_string().contains("🔥"), "{reactions:?}");
    let gone: Vec<i64> =
        sqlx::query_scalar("select message_id from message where deleted_at is not null and deleted_after is not null")
            .fetch_all(&collector.pool)
            .await
            .unwrap();
    assert_eq!(gone, [first]);
    let report = coverage_report(&mut collector.pool.acquire().await.unwrap(), Some(chat)).await.unwrap();
    assert_eq!((report[0].missing, report[0].deleted), (0, 1));

    let marked = "select checked_at > now() - interval '1 minute' from count_mark";
    assert!(sqlx::query_scalar::<_, bool>(marked).fetch_one(&collector.pool).await.unwrap());

    // A job that was killed on its way asks for what has no point yet, and for nothing else.
    let (newest, asked) = (posts[posts.len() - 50], datacentre.calls("channels.getMessages"));
    sqlx::query("delete from metric where message_id >= $1").bind(newest).execute(&collector.pool).await.unwrap();
    collector.posted("2 days").await;
    assert_eq!(collector.does("count_sample").await, 1);
    assert_eq!(datacentre.calls("channels.getMessages") - asked, 1);
    assert_eq!(collector.points().await.len(), posts.len() - 1);

    // The same step again: Telegram's own dates came back with the answers.
    collector.posted("2 days").await;
    assert_eq!(collector.does("count_sample").await, 0);
    // A later step is a further point; those between are not made up.
    collector.posted("40 days").await;
    assert_eq!(collector.does("count_sample").await, 1);
    assert_eq!(collector.points().await.len(), 2 * (posts.len() - 1));
    assert!(datacentre.violations().is_empty());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_step_is_due_from_its_moment_until_the_next(pool: PgPool) {
    let datacentre = datacentre().await;
    let collector = Collector::watching(pool, &datacentre, "quay").await;
    collector.does("chat_refresh").await;
    collector.does("history_fetch").await;
    let mut conn = collector.pool.acquire().await.unwrap();
    let steps = [
        ("4 minutes", None),
        ("6 minutes", Some(5)),
        ("16 minutes", Some(15)),
        ("61 minutes", Some(60)),
        ("4 hours", Some(180)),
        ("7 hours", Some(360)),
        ("2 days", Some(1_440)),
        ("4 days", Some(4_320)),
        ("8 days", Some(10_080)),
        ("31 days", Some(43_200)),
        ("91 days", Some(129_600)),
        ("181 days", None),
    ];
    for (ago, step) in steps {
        sqlx::query("update message set date = now() - $1::text::interval").bind(ago).execute(&mut *conn).await.unwrap();
        let due = sampling::due(&mut conn, collector.chat, 1_000).await.unwrap();
        let found: Option<i64> = match due.first() {
            Some(due) => {
                let minutes = "select extract(epoch from $1 - date)::bigint / 60 from message where message_id = $2";
                let minutes = sqlx::query_scalar(minutes).bind(due.scheduled_at).bind(due.message_id);
                Some(minutes.fetch_one(&mut *conn).await.unwrap())
            }
            None => None,
        };
        assert_eq!(found, step, "after {ago}");
        sqlx::query("delete from count_mark").execute(&mut *conn).await.unwrap();
        let with_due = sampling::with_due(&mut conn, &[collector.chat.0, -5, 7]).await.unwrap();
        assert_eq!(with_due, step.map(|_| collector.chat.0).into_iter().collect::<Vec<_>>());
    }

    // Found complete a while ago: only what became due since then is looked at, and all of it again after a day.
    let chats = [collector.chat.0];
    for (ago, marked, is_due) in [
        ("2 hours", "30 minutes", false),
        ("2 hours", "65 minutes", true),
        ("2 hours", "25 hours", true),
        ("1 day 1 minute", "2 minutes", true),
        ("1 day 1 minute", "30 seconds", false),
        ("181 days", "23 hours", false),
    ] {
        sqlx::query("delete from count_mark").execute(&mut *conn).await.unwrap();
        let mark = "insert into count_mark select $1, now() - $2::text::interval";
        sqlx::query(mark).bind(chats[0]).bind(marked).execute(&mut *conn).await.unwrap();
        sqlx::query("update message set date = now() - $1::text::interval").bind(ago).execute(&mut *conn).await.unwrap();
        let found = sampling::with_due(&mut conn, &chats).await.unwrap();
        assert_eq!(!found.is_empty(), is_due, "posted {ago} ago, marked {marked} ago");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_was_refused_is_asked_for_again_and_comes_back(pool: PgPool) {
    let datacentre = datacentre().await;
    let collector = Collector::watching(pool, &datacentre, "quay").await;
    let private = || Fault::error(400, "CHANNEL_PRIVATE").of("channels.getFullChannel").times(1);
    datacentre.fail(private());
    collector.does("chat_refresh").await;
    let mut conn = collector.pool.acquire().await.unwrap();
    assert!(coverage::is_inaccessible(&mut conn, collector.chat).await.unwrap());

    let asked = datacentre.calls("channels.getFullChannel");
    collector.does("chat_refresh").await;
    assert_eq!(datacentre.calls("channels.getFullChannel"), asked, "it was told a moment ago");
    let an_hour_ago = "update coverage_access set checked_at = now() - interval '1 hour'";
    sqlx::query(an_hour_ago).execute(&mut *conn).await.unwrap();
    datacentre.fail(private());
    collector.does("chat_refresh").await;
    let (calls, checked): (u64, bool) = (
        datacentre.calls("channels.getFullChannel") - asked,
        sqlx::query_scalar("select checked_at > now() - interval '1 minute' from coverage_access")
            .fetch_one(&mut *conn)
            .await
            .unwrap(),
    );
    assert_eq!((calls, checked), (1, true), "asked once, and noted when");

    sqlx::query(an_hour_ago).execute(&mut *conn).await.unwrap();
    collector.does("chat_refresh").await;
    assert!(!coverage::is_inaccessible(&mut conn, collector.chat).await.unwrap());
}
