//! Lists of members: whole, cut, hidden, resumed; who left; documents. Telegram is simulated, Postgres and Elasticsearch are real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep::account::{Accounts, LostKey, SessionFile};
use telekeep::jobs::member_snapshot::MemberSnapshot;
use telekeep::jobs::{self, Job};
use telekeep::record::member::{self, Relation, Said, When};
use telekeep::record::member_snapshot::{self, Snapshot};
use telekeep::record::outbox::{self, Kind};
use telekeep::record::watch::{self, NewWatch};
use telekeep::record::{AccountId, ChatId, Observation, Via, boxes};
use telekeep::telegram::TelegramConfig;
use telekeep_queue as queue;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Member, Membership, OwnRole, Standing};
use telekeep_simulator::{Fault, Simulator, World};
use tokio_util::sync::CancellationToken;

use crate::installation::{Telekeep, datacentre, until};
use crate::projection::in_world;
use crate::series_index::documents;

/// An installation in this process, with one account and one watched chat; nobody listens.
struct Roll {
    pool: PgPool,
    accounts: Arc<Accounts>,
    account: AccountId,
    chat: ChatId,
    settings: jobs::Settings,
    _folder: tempfile::TempDir,
}

impl Roll {
    async fn of(pool: PgPool, datacentre: &Simulator, title: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Arc::new(Accounts::new(pool.clone(), TelegramConfig::new(1, "hash"), folder.path().join("seal.key")));
        let told = serde_json::to_vec(&datacentre.account("keeper").unwrap()).unwrap();
        let session = SessionFile::parse(Path::new("keeper.json"), &told).unwrap().session();
        accounts.import("keeper", &session, LostKey::Refuse).await.unwrap();
        let account = accounts.labelled("keeper").await.unwrap().id;
        let dialogs = accounts.dialogs(account).await.unwrap();
        accounts.note_peers(account, &telekeep::normalize::peers(&dialogs.chats, &dialogs.users)).await.unwrap();
        let chat = ChatId(chat_of(datacentre, title));
        let wish = NewWatch { reader: Some(account), ..NewWatch::new(chat) };
        watch::watch(&mut pool.acquire().await.unwrap(), &wish).await.unwrap();
        Self { pool, accounts, account, chat, settings: jobs::Settings::default(), _folder: folder }
    }

    /// Reads the lists until the job has ended; gives what they turned out to be.
    async fn reads(&self, job: MemberSnapshot) -> Snapshot {
        let mut tx = self.pool.begin().await.unwrap();
        let (_, _wake) = queue::enqueue(&mut tx, &[job.enqueueable(Some(self.account)).unwrap()]).await.unwrap();
        tx.commit().await.unwrap();
        self.works().await;
        member_snapshot::list(&mut self.pool.acquire().await.unwrap(), self.chat).await.unwrap().remove(0)
    }

    /// Works until nothing is left to do.
    async fn works(&self) {
        let shutdown = CancellationToken::new();
        let holder = Some(self.accounts.node().await.unwrap().holder());
        let config = queue::WorkerConfig { holder, ..queue::WorkerConfig::new("test") };
        let worker = jobs::worker(self.pool.clone(), self.accounts.clone(), self.settings.clone(), config);
        let working = tokio::spawn(worker.run(shutdown.clone()));
        let begun = telekeep::clock::mark();
        let left = loop {
            let open = queue::Filter { unfinished: true, ..queue::Filter::default() };
            let left = queue::list(&self.pool, open).await.unwrap();
            if left.iter().all(|job| job.state == queue::State::Held) || begun.elapsed() > Duration::from_secs(600) {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        shutdown.cancel();
        working.await.unwrap().unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    fn whole(&self) -> MemberSnapshot {
        MemberSnapshot { chat: self.chat, admins_only: false, widen: false }
    }

    /// Somebody was in the chat long ago, as far as the record knows.
    async fn knew(&self, user: i64) {
        let mut tx = self.pool.begin().await.unwrap();
        let held = boxes::box_of(&mut tx, self.chat, self.account).await.unwrap();
        boxes::lock(&mut tx, held).await.unwrap();
        let when = When::Dated { date: telekeep::clock::now() - TimeDelta::days(400), message: Some(1) };
        let relation = Relation { chat: self.chat, user, said: Said::Came { by: None }, when };
        let seen = Observation { account: self.account, via: Via::History, job: None, pts: None };
        assert_eq!(member::merge(&mut tx, &[relation], &seen).await.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    async fn present(&self) -> BTreeSet<i64> {
        let users: Vec<i64> = sqlx::query_scalar("select user_id from member where chat_id = $1 and present")
            .bind(self.chat.0)
            .fetch_all(&self.pool)
            .await
            .unwrap();
        users.into_iter().collect()
    }

    async fn gone(&self) -> BTreeSet<i64> {
        let users: Vec<i64> = sqlx::query_scalar("select user_id from member where chat_id = $1 and status = 'left'")
            .bind(self.chat.0)
            .fetch_all(&self.pool)
            .await
            .unwrap();
        users.into_iter().collect()
    }
}

pub(crate) fn chat_of(datacentre: &Simulator, title: &str) -> i64 {
    datacentre.world().all_chats().find(|chat| chat.title() == title).unwrap().id
}

pub(crate) fn supergroup(title: &str, members: i32, membership: Membership) -> GeneratedChat {
    GeneratedChat::new(ChatKind::Supergroup, title, 20).named(&title.to_lowercase()).members(members).membership(membership)
}

fn truly_present(datacentre: &Simulator, chat: i64) -> BTreeSet<i64> {
    datacentre.members(chat).unwrap().into_iter().filter(Member::is_present).map(|member| member.user_id).collect()
}

/// What a document says of a member, the account's own one apart.
fn expected(member: &Member) -> Value {
    let told = serde_json::to_value(member).unwrap();
    let date = |seconds: &Value| -> Value {
        let date = DateTime::from_timestamp(seconds.as_i64().unwrap(), 0).unwrap();
        date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into()
    };
    let has_right = |name: &str| told["rights"].as_array().is_some_and(|rights| rights.contains(&name.into()));
    let mut said = match told["role"].as_str().unwrap() {
        "creator" => json!({"status": "creator", "is_anonymous": false}),
        "admin" => json!({
            "status": "administrator", "rights": told["rights"], "promoted_by_id": told["promoted_by"], "title": told["rank"],
            "is_anonymous": has_right("anonymous"), "joined_date": date(&told["date"]),
        }),
        "member" => json!({"status": "member", "joined_date": date(&told["date"])}),
        role @ ("restricted" | "banned") => {
            let until = &told["rights"]["until_date"];
            json!({
                "status": role, "rights": told["rights"]["denied"], "restricted_by_id": told["by"],
                "until_date": if until == 0 { Value::Null } else { date(until) },
                "joined_date": if role == "restricted" { date(&told["date"]) } else { Value::Null },
            })
        }
        role => json!({"status": role}),
    };
    let present = member.is_present();
    let fields = said.as_object_mut().unwrap();
    fields.extend([
        ("user_id".to_owned(), member.user_id.into()),
        ("is_member".into(), present.into()),
        ("left".into(), (!present).into()),
    ]);
    fields.retain(|_, value| !value.is_null());
    said
}

/// What documents say, without what depends on the moment.
fn without_moments(mut document: Value) -> Value {
    let fields = document.as_object_mut().unwrap();
    for field in ["chat_id", "seen", "first_seen", "last_seen", "update_time", "content_hash", "snapshot"] {
        assert!(fields.remove(field).is_some(), "{field} in {fields:?}");
    }
    match fields["status"].as_str() {
        Some("creator") => drop(fields.remove("rights")),
        // Known from before, where it is.
        Some("banned" | "left") => drop(fields.remove("joined_date")),
        _ => {}
    }
    document
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_list_of_25_000_that_is_cut_says_so_and_reports_nobody_as_left(pool: PgPool) {
    let world = World::generated(31, [supergroup("Crowded", 25_000, Membership::default())]);
    let datacentre = datacentre(world).await;
    let roll = Roll::of(pool, &datacentre, "Crowded").await;
    let oldest: Vec<i64> = datacentre.members(roll.chat.0).unwrap().iter().skip(200).take(5).map(|member| member.user_id).collect();
    for user in oldest.iter().chain(&[42]) {
        roll.knew(*user).await;
    }
    let told = truly_present(&datacentre, roll.chat.0).len() as i64;
    let list = roll.reads(roll.whole()).await;
    assert_eq!((list.state.as_str(), list.seen_count, list.told_count, list.left_count), ("cut", 10_000, Some(told), None));
    assert!(told >= 25_000 && !list.widened && list.ended_at.is_some());
    assert_eq!(roll.gone().await, BTreeSet::new());
    let present = roll.present().await;
    assert!(oldest.iter().chain(&[42]).all(|user| present.contains(user)));
    let beyond: Vec<i64> = present.difference(&truly_present(&datacentre, roll.chat.0)).copied().collect();
    assert_eq!(beyond, [42]);
    // 51 pages that overlap by one, one that shows nobody new, administrators, bots, and who was removed: refused.
    assert!(datacentre.calls("channels.getParticipants") <= 56, "{}", datacentre.calls("channels.getParticipants"));
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_cut_list_that_is_widened_says_truly_whether_it_has_everybody(pool: PgPool) {
    let world = World::generated(32, [supergroup("Crowded", 10_400, Membership::default())]);
    let datacentre = datacentre(world).await;
    let mut roll = Roll::of(pool, &datacentre, "Crowded").await;
    roll.knew(42).await;
    let truth = truly_present(&datacentre, roll.chat.0);
    roll.settings.members.widen_calls = 3;
    let few = roll.reads(MemberSnapshot { widen: true, ..roll.whole() }).await;
    assert_eq!((few.state.as_str(), few.widened, few.left_count), ("cut", true, None));
    roll.settings.members.widen_calls = 1_000;
    let list = roll.reads(MemberSnapshot { widen: true, ..roll.whole() }).await;
    let mut present = roll.present().await;
    let whole = list.state == "complete";
    assert_eq!(present.remove(&42), !whole);
    assert!(present.is_subset(&truth) && list.seen_count > 10_000 && list.widened, "{list:?}");
    assert_eq!(whole, present == truth, "{list:?}");
    assert_eq!(whole, Some(list.seen_count) == list.told_count, "{list:?}");
    assert_eq!(roll.gone().await, whole.then_some(42).into_iter().collect());
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_hidden_list_is_marked_hidden_and_concludes_nothing(pool: PgPool) {
    let hidden = Membership { hidden: true, banned: 3, ..Membership::default() };
    let world = World::generated(
        33,
        [supergroup("Veiled", 900, hidden), GeneratedChat::new(ChatKind::Channel, "News", 20).named("news").members(3_000)],
    );
    let datacentre = datacentre(world).await;
    let roll = Roll::of(pool.clone(), &datacentre, "Veiled").await;
    roll.knew(42).await;
    let list = roll.reads(roll.whole()).await;
    let told = truly_present(&datacentre, roll.chat.0).len() as i64;
    assert_eq!((list.state.as_str(), list.told_count, list.left_count), ("hidden", Some(told), None));
    let admins: Vec<i64> =
        sqlx::query_scalar("select user_id from member where status in ('creator', 'administrator') order by user_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    let truly = datacentre.members(roll.chat.0).unwrap();
    let mut truly: Vec<i64> = truly.iter().filter(|member| member.is_admin()).map(|member| member.user_id).collect();
    truly.sort_unstable();
    assert_eq!(admins, truly, "administrators are shown even so");
    assert!(list.seen_count >= admins.len() as i64 && list.seen_count < 50);
    assert!(roll.present().await.contains(&42) && roll.gone().await.is_empty());

    // It was open when it was described, and was hidden before it was read.
    datacentre.fail(Fault::error(403, "CHAT_ADMIN_REQUIRED").of("channels.getParticipants").times(1));
    datacentre.play(Event::HideMembers { chat: roll.chat.0, on: false }).unwrap();
    assert_eq!(roll.reads(roll.whole()).await.state, "hidden");
    assert_eq!(roll.reads(roll.whole()).await.state, "complete");
    assert_eq!(roll.gone().await, BTreeSet::from([42]));

    let news = ChatId(chat_of(&datacentre, "News"));
    let wish = NewWatch { reader: Some(roll.account), ..NewWatch::new(news) };
    watch::watch(&mut pool.acquire().await.unwrap(), &wish).await.unwrap();
    let roll = Roll { chat: news, ..roll };
    let list = roll.reads(roll.whole()).await;
    assert_eq!((list.state.as_str(), list.seen_count, list.calls), ("hidden", 0, 2));
    let admins = roll.reads(MemberSnapshot { admins_only: true, ..roll.whole() }).await;
    assert_eq!((admins.state.as_str(), admins.admins_only), ("hidden", true));
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_left_between_two_whole_lists_is_found_and_the_documents_are_the_truth(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        let membership = Membership { role: OwnRole::Admin, restricted: 6, banned: 8, admins: Some(7), ..Membership::default() };
        let datacentre = datacentre(World::generated(34, [supergroup("Bridge", 450, membership)])).await;
        let roll = Roll::of(world.pool.clone(), &datacentre, "Bridge").await;
        let chat = roll.chat.0;
        let me = datacentre.world().me;
        let is_the_truth = async |left: &BTreeSet<i64>| {
            world.projects().await;
            let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
            assert!(dead.is_empty(), "{dead:?}");
            let found = documents(&world, Kind::Member).await;
            let mut found: BTreeMap<i64, Value> = found
                .into_iter()
                .map(|(id, document)| {
                    let user = document["user_id"].as_i64().unwrap();
                    assert_eq!(id, format!("{chat}_{user}"));
                    (user, without_moments(document))
                })
                .collect();
            for user in left {
                let gone = found.remove(user).unwrap();
                assert!(gone["left_between"]["gte"].is_string() && gone["left_between"]["lte"].is_string(), "{gone}");
                assert_eq!((&gone["status"], &gone["is_member"], &gone["left"]), (&json!("left"), &json!(false), &json!(true)));
            }
            let own = found.remove(&me).unwrap();
            assert_eq!((&own["status"], own["invited_by_id"].is_i64()), (&json!("administrator"), true));
            let known = |member: &Member| member.user_id != me && !left.contains(&member.user_id);
            let truth: BTreeMap<i64, Value> = datacentre
                .members(chat)
                .unwrap()
                .iter()
                .filter(|member| known(member))
                .map(|member| (member.user_id, expected(member)))
                .collect();
            for (user, truth) in &truth {
                assert_eq!(found.get(user), Some(truth), "{user}");
            }
            assert_eq!(found.len(), truth.len());
            assert_eq!(world.audit(true, false).await.differences(), 0);
        };
        let list = roll.reads(roll.whole()).await;
        assert_eq!((list.state.as_str(), list.left_count), ("complete", Some(0)));
        is_the_truth(&BTreeSet::new()).await;
        let revisions = "select sum(revision)::bigint from member";
        let before: i64 = sqlx::query_scalar(revisions).fetch_one(&world.pool).await.unwrap();
        let again = roll.reads(roll.whole()).await;
        assert_eq!((again.state.as_str(), again.left_count), ("complete", Some(0)));
        let after: i64 = sqlx::query_scalar(revisions).fetch_one(&world.pool).await.unwrap();
        assert_eq!(before, after, "equal content makes no revision");

        // Nobody listens to what happens now.
        let members = datacentre.members(chat).unwrap();
        let plain: Vec<i64> =
            members.iter().rev().filter(|member| member.is_present() && !member.is_admin()).map(|m| m.user_id).collect();
        let left = BTreeSet::from([plain[3], plain[250], plain[299]]);
        for user in &left {
            datacentre.play(Event::Leave { chat, user: *user }).unwrap();
        }
        datacentre.play(Event::Ban { chat, user: plain[10], by: me, until: 0 }).unwrap();
        let standing = Standing::Admin { rank: Some("pilot".into()) };
        datacentre.play(Event::Promote { chat, user: plain[20], by: me, standing }).unwrap();
        datacentre.play(Event::Promote { chat, user: plain[21], by: me, standing: Standing::Restricted { until: 0 } }).unwrap();
        let stranger = members.iter().map(|member| member.user_id).max().unwrap() + 1;
        datacentre.play(Event::Join { chat, user: stranger, by: Default::default() }).unwrap();
        let list = roll.reads(roll.whole()).await;
        assert_eq!((list.state.as_str(), list.left_count), ("complete", Some(3)), "{list:?}");
        assert_eq!(roll.gone().await, left);
        is_the_truth(&left).await;
        // They come back, and a ban is lifted.
        datacentre.play(Event::Unban { chat, user: plain[10], by: me }).unwrap();
        for user in &left {
            datacentre.play(Event::Join { chat, user: *user, by: Default::default() }).unwrap();
        }
        assert_eq!(roll.reads(roll.whole()).await.left_count, Some(0));
        is_the_truth(&BTreeSet::new()).await;
        world.index.reindex(&CancellationToken::new(), |_| {}).await.expect("a reindex");
        is_the_truth(&BTreeSet::new()).await;

        let admins = roll.reads(MemberSnapshot { admins_only: true, ..roll.whole() }).await;
        assert_eq!((admins.state.as_str(), admins.told_count, admins.left_count), ("complete", Some(8), None));
        assert_eq!(datacentre.violations(), []);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn people_who_move_while_a_list_is_read_are_neither_lost_nor_reported(pool: PgPool) {
    let datacentre = datacentre(World::generated(35, [supergroup("Bridge", 2_000, Membership::default())])).await;
    let roll = Roll::of(pool, &datacentre, "Bridge").await;
    let chat = roll.chat.0;
    assert_eq!(roll.reads(roll.whole()).await.state, "complete");
    // Those who joined last are told first: who leaves from there moves all the others forward.
    let newest: Vec<i64> = datacentre.members(chat).unwrap().iter().rev().map(|member| member.user_id).take(60).collect();
    datacentre.set_latency(Duration::from_millis(60));
    let calls = datacentre.calls("channels.getParticipants");
    let moving = async {
        until("the third page", || async { datacentre.calls("channels.getParticipants") >= calls + 3 }).await;
        for user in &newest {
            datacentre.play(Event::Leave { chat, user: *user }).unwrap();
        }
        until("the sixth page", || async { datacentre.calls("channels.getParticipants") >= calls + 6 }).await;
        for user in &newest[..30] {
            datacentre.play(Event::Join { chat, user: *user, by: Default::default() }).unwrap();
        }
    };
    let (list, ()) = tokio::join!(roll.reads(roll.whole()), moving);
    assert_eq!((list.state.as_str(), list.left_count), ("complete", Some(0)), "{list:?}");
    datacentre.set_latency(Duration::ZERO);
    let list = roll.reads(roll.whole()).await;
    assert_eq!((list.state.as_str(), list.left_count), ("complete", Some(30)), "{list:?}");
    assert_eq!(roll.present().await, truly_present(&datacentre, chat));
    assert_eq!(roll.gone().await, newest[30..].iter().copied().collect());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_is_closed_meanwhile_leaves_a_list_that_failed(pool: PgPool) {
    let datacentre = datacentre(World::generated(36, [supergroup("Bridge", 900, Membership::default())])).await;
    let roll = Roll::of(pool, &datacentre, "Bridge").await;
    roll.knew(42).await;
    datacentre.fail(Fault::error(400, "CHANNEL_PRIVATE").of("channels.getParticipants").times(1));
    let list = roll.reads(roll.whole()).await;
    assert_eq!((list.state.as_str(), list.reason.as_deref(), list.left_count), ("failed", Some("CHANNEL_PRIVATE"), None));
    assert!(list.ended_at.is_some() && roll.gone().await.is_empty());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_killed_snapshot_goes_on_and_asks_for_no_page_again_beyond_one(pool: PgPool) {
    let datacentre = datacentre(World::generated(37, [supergroup("Bridge", 5_000, Membership::default())])).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.does(&["chat", "watch", "@bridge"]);
    let chat = chat_of(&datacentre, "Bridge");
    let told = telekeep.does(&["member", "snapshot", &chat.to_string()]);
    assert!(told.contains(&format!("for chat {chat}")), "{told}");
    datacentre.set_latency(Duration::from_millis(100));
    let calls = || datacentre.calls("channels.getParticipants");
    let mut last = 0;
    for _ in 0..2 {
        let worker = telekeep.works();
        until("some pages", || async { calls() >= last + 6 }).await;
        worker.kill();
        last = calls();
        let told: Value = serde_json::from_str(&telekeep.does(&["member", "snapshots", &chat.to_string(), "--json"])).unwrap();
        assert_eq!((&told[0]["state"], told[0]["left_count"].is_null()), (&json!("running"), true), "{told}");
        let progress: Option<i64> =
            sqlx::query_scalar("select progress_done from job where kind = 'member_snapshot'").fetch_one(&pool).await.unwrap();
        assert!(progress.is_some_and(|done| done > 0), "{progress:?}");
    }
    let _worker = telekeep.works();
    telekeep.does(&["job", "wait", "--timeout", "100"]);
    let lists = member_snapshot::list(&mut pool.acquire().await.unwrap(), ChatId(chat)).await.unwrap();
    assert_eq!(lists.len(), 1, "{lists:?}");
    let told = truly_present(&datacentre, chat).len() as i64;
    assert_eq!((lists[0].state.as_str(), lists[0].seen_count, lists[0].told_count), ("complete", told, Some(told)));
    // 26 pages that overlap by one, administrators, bots, who was removed: refused; and one again a kill.
    assert!(calls() <= 26 + 3 + 2, "{}", calls());
    let present: i64 = sqlx::query_scalar("select count(*) from member where present").fetch_one(&pool).await.unwrap();
    assert_eq!(present, told);
    assert_eq!(datacentre.violations(), []);

    let listed = telekeep.does(&["member", "list", "@bridge", "--status", "creator"]);
    assert!(listed.contains("creator") && listed.contains(&format!("member {}", told - 5)), "{listed}");
    let lines = telekeep.does(&["member", "list", "@bridge", "--json"]);
    assert_eq!(lines.lines().count() as i64, told);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let shown = telekeep.does(&["member", "show", "@bridge", &first["user_id"].to_string(), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), first);
    let nobody = telekeep.command(&["member", "show", "@bridge", "42"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    let told = telekeep.does(&["member", "snapshots", "@bridge"]);
    assert!(told.contains("complete") && told.contains("keeper"), "{told}");
}
