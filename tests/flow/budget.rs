//! Flood budgets against a datacentre that has rules: what is spread provokes no flood, what is spent is not asked for.

use std::path::Path;
use std::time::Duration;

use sqlx::PgPool;
use telekeep::account::{self, Accounts, LostKey, SessionFile, find};
use telekeep::record::AccountId;
use telekeep::telegram::{Error, HistoryRequest, InputChat, TelegramConfig, budget, chats};
use telekeep_simulator::world::{ChatKind, GeneratedChat, Rules};
use telekeep_simulator::{Options, Simulator, World};

/// So many times faster than Telegram's goes the time of the rules, and so many times faster calls are spread.
const MULTIPLE: f64 = 20.0;
const WINDOWS: i32 = 4;
const IDS: i32 = 20_000;

struct Reading {
    datacentre: Simulator,
    accounts: Accounts,
    keeper: AccountId,
    chat: InputChat,
    _folder: tempfile::TempDir,
}

async fn reading(pool: &PgPool, pace: Option<f64>) -> Reading {
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour", IDS).named("harbour")]);
    let datacentre = Simulator::start(world, Options::default()).await.unwrap();
    datacentre.set_rules(Some(Rules { multiple: MULTIPLE, ..Rules::default() })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let accounts = opened(pool, pace, folder.path());
    let told = serde_json::to_vec(&datacentre.account("keeper").unwrap()).unwrap();
    let session = SessionFile::parse(Path::new("keeper.json"), &told).unwrap().session();
    let keeper = accounts.import("keeper", &session, LostKey::Refuse).await.unwrap().id;
    let found = accounts.open(keeper).await.unwrap().resolve("harbour").await.unwrap();
    let chat = InputChat::new(chats::chat_id(&found.peer), chats::access_hash(&found.peer, &found.chats, &found.users));
    Reading { datacentre, accounts, keeper, chat, _folder: folder }
}

/// The accounts, as a process that begins has them.
fn opened(pool: &PgPool, pace: Option<f64>, folder: &Path) -> Accounts {
    let config = TelegramConfig { pace, ..TelegramConfig::new(1, "hash") };
    Accounts::new(pool.clone(), config, folder.join("seal.key"))
}

impl Reading {
    /// Reads every other window of the history, page by page; gives how many messages came, and how many pages it was told to wait for.
    async fn reads(&self, first: i32) -> (usize, usize) {
        let connection = self.accounts.open(self.keeper).await.unwrap();
        let (mut messages, mut floods) = (0, 0);
        for window in (first..WINDOWS).step_by(2) {
            let (from, to) = (window * IDS / WINDOWS, (window + 1) * IDS / WINDOWS);
            for offset_id in (from + 101..=to + 1).rev().step_by(100) {
                self.accounts.permit(self.keeper, budget::HISTORY).await.unwrap();
                let ask = HistoryRequest { offset_id, min_id: offset_id - 101, ..HistoryRequest::default() };
                match connection.history(&self.chat, ask).await {
                    Ok(page) => messages += telekeep::normalize::page(&page).messages.len(),
                    Err(Error::Flood { .. }) => floods += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        (messages, floods)
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn two_jobs_at_once_read_twenty_thousand_ids_and_provoke_no_flood(pool: PgPool) {
    let it = reading(&pool, Some(MULTIPLE)).await;
    let ((one, none), (two, nor_here)) = tokio::join!(it.reads(0), it.reads(1));
    let exist = it.datacentre.truth(it.chat.id().0).unwrap().len();
    assert_eq!((one + two, none + nor_here), (exist, 0));
    assert!(it.datacentre.violations().is_empty(), "{:?}", it.datacentre.violations());
    assert_eq!(it.datacentre.calls("messages.getHistory"), 200, "a page that was refused and asked for again is a flood");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn without_a_pace_the_same_reading_provokes_floods(pool: PgPool) {
    let it = reading(&pool, Some(0.0)).await;
    tokio::select! {
        _ = async { tokio::join!(it.reads(0), it.reads(1)) } => {}
        () = async {
            while it.datacentre.violations().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        } => {}
    }
    assert!(!it.datacentre.violations().is_empty(), "nothing was provoked: the other test shows nothing");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_spent_day_of_lookups_refuses_before_any_call_and_outlives_the_process(pool: PgPool) {
    let it = reading(&pool, Some(1.0)).await;
    for _ in 0..100 {
        it.accounts.permit(it.keeper, budget::RESOLVE).await.unwrap();
    }
    let calls = it.datacentre.calls("contacts.resolveUsername");
    let keeper = it.accounts.labelled("keeper").await.unwrap();
    let refused = find::resolve(&it.accounts, &keeper, "harbour").await.unwrap_err();
    let account::Error::ResolvesSpent { name, label, at } = &refused else { panic!("{refused:?}") };
    assert_eq!((name.as_str(), label.as_str()), ("harbour", "keeper"));
    let seconds = (*at - telekeep::clock::now()).num_seconds();
    assert!((820..=864).contains(&seconds), "100 a day are one each 864 s, not {seconds}");
    assert!(refused.is_mistake() && refused.to_string().contains(&at.format("%Y-%m-%d %H:%M:%S UTC").to_string()), "{refused}");
    // What every node may still call is told apart from it.
    it.accounts.permit(it.keeper, budget::HISTORY).await.unwrap();

    it.accounts.close().await;
    let later = opened(&pool, Some(1.0), it._folder.path());
    let refused = find::resolve(&later, &keeper, "harbour").await.unwrap_err();
    assert!(matches!(refused, account::Error::ResolvesSpent { .. }), "a restart does not refill: {refused:?}");
    assert_eq!(it.datacentre.calls("contacts.resolveUsername"), calls, "nothing was asked");

    let past = "update account_budget set updated_at = updated_at - interval '865 seconds' where method = $1";
    sqlx::query(past).bind(budget::RESOLVE).execute(&pool).await.unwrap();
    find::resolve(&later, &keeper, "harbour").await.unwrap();
    assert_eq!(it.datacentre.calls("contacts.resolveUsername"), calls + 1);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_telegram_asked_for_comes_before_the_budget(pool: PgPool) {
    let it = reading(&pool, None).await;
    let flood = |seconds| Error::Flood { method: budget::HISTORY.into(), wait: Duration::from_secs(seconds) };
    it.accounts.learn(it.keeper, &flood(1)).await.unwrap();
    let before = std::time::Duration::from_millis(900);
    let mark = telekeep::clock::mark();
    it.accounts.permit(it.keeper, budget::HISTORY).await.unwrap();
    assert!(mark.elapsed() > before, "a short rest is slept");

    it.accounts.learn(it.keeper, &flood(60)).await.unwrap();
    for pace in [None, Some(MULTIPLE)] {
        it.accounts.close().await;
        let accounts = opened(&pool, pace, it._folder.path());
        accounts.open(it.keeper).await.unwrap();
        let refused = accounts.permit(it.keeper, budget::HISTORY).await.unwrap_err();
        assert!(matches!(&refused, account::Error::Telegram(Error::Flood { wait, .. }) if wait.as_secs() > 50), "{refused:?}");
        accounts.permit(it.keeper, "channels.getFullChannel").await.unwrap();
        accounts.close().await;
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_wait_that_is_too_long_to_sleep_takes_nothing(pool: PgPool) {
    let it = reading(&pool, Some(1.0)).await;
    // 4 at once, then one each 1.33 s: the 7th must wait 4 s, the 8th more than is slept.
    sqlx::query("insert into account_budget (account_id, method, tokens) values ($1, $2, -3.5)")
        .bind(it.keeper.0)
        .bind(budget::HISTORY)
        .execute(&pool)
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = it.accounts.permit(it.keeper, budget::HISTORY).await.unwrap_err();
        let account::Error::Telegram(Error::OverBudget { wait, .. }) = refused else { panic!("{refused:?}") };
        assert!((5..=6).contains(&wait.as_secs()), "{wait:?}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_call_of_a_job_is_paid_for_and_a_spent_budget_snoozes_it(pool: PgPool) {
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour", 4_000).named("harbour")]);
    let datacentre = super::installed::datacentre(world).await;
    datacentre.set_rules(Some(Rules { multiple: MULTIPLE, ..Rules::default() })).unwrap();
    let chat = datacentre.world().chats()[0].id;
    let telekeep = super::installed::Installed::at(&datacentre, &pool);
    std::fs::write(telekeep.path("telekeep.toml"), format!("[telegram]\npace = {MULTIPLE}\n")).unwrap();
    telekeep.does(&["collect", &chat.to_string()]);
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
    let methods: Vec<String> = sqlx::query_scalar("select method from account_budget order by 1").fetch_all(&pool).await.unwrap();
    assert_eq!(methods, ["channels.getFullChannel", "messages.getHistory"]);

    let calls = datacentre.calls("messages.getHistory");
    let spent = "update account_budget set tokens = -100000, updated_at = now() where method = 'messages.getHistory'";
    sqlx::query(spent).execute(&pool).await.unwrap();
    sqlx::query("update coverage set stale = settled").execute(&pool).await.unwrap();
    telekeep.does(&["job", "enqueue", "history_fetch", "--chat", &chat.to_string(), "--at", "1"]);
    let mut worker = telekeep.command(&["run", "--roles", "worker"]).spawn().unwrap();
    let mut snoozed = None;
    for _ in 0..200 {
        let job: (String, Option<String>, i32, f64) = sqlx::query_as(
            "select state::text, error, failure, extract(epoch from run_at - now())::float8 from job where kind = 'history_fetch' order by id desc limit 1",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        if job.3 > 60.0 {
            snoozed = Some(job);
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    let (state, error, failure, seconds) = snoozed.expect("the job waits");
    assert_eq!((state.as_str(), failure), ("scheduled", 0));
    assert!(error.as_deref().unwrap_or_default().contains("this account's budget of it is spent"), "{error:?}");
    assert!((6_000.0..6_700.0).contains(&seconds), "100,000 calls at 15 a second, not {seconds} s");
    assert_eq!(datacentre.calls("messages.getHistory"), calls, "nothing was asked");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_page_of_dialogs_is_paid_for(pool: PgPool) {
    let it = reading(&pool, Some(1.0)).await;
    it.accounts.dialogs(it.keeper).await.unwrap();
    let calls = it.datacentre.calls("messages.getDialogs");
    let left: f64 = sqlx::query_scalar("select tokens from account_budget where method = 'messages.getDialogs'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!((left - (40.0 - calls as f64)).abs() < 0.5, "{left} are left of 40 after {calls} calls");
    sqlx::query("update account_budget set tokens = -1, updated_at = now()").execute(&pool).await.unwrap();
    let refused = it.accounts.dialogs(it.keeper).await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::OverBudget { .. })), "{refused:?}");
    assert_eq!(it.datacentre.calls("messages.getDialogs"), calls);
}
