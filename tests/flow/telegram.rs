//! An account of ours against the simulated datacentre: reading, waiting, failing, signing in.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use sqlx::PgPool;
use telekeep::account::{self, AccountState, Accounts, Format, How, LostKey, SessionFile, Step, session_string};
use telekeep::record::ChatId;
use telekeep::telegram::{
    Cause, Connection, Error, FullChat, HistoryRequest, InputChat, LoginRefusal, SessionData, TelegramConfig, chats, tl,
};
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, Fault, Options, Simulator, World};

async fn datacentre() -> Simulator {
    let world = World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 250).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 300).deleted(0.25).named("quay"),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
            GeneratedChat::new(ChatKind::Private, "Maren", 30),
        ],
    );
    Simulator::start(world, Options::default()).await.unwrap()
}

fn config() -> TelegramConfig {
    TelegramConfig::new(1, "hash")
}

/// The file as it is written to disk, read as an operator's would be.
fn file(told: &telekeep_simulator::SessionFile) -> SessionFile {
    SessionFile::parse(Path::new("keeper.json"), &serde_json::to_vec(told).unwrap()).unwrap()
}

fn session(datacentre: &Simulator) -> SessionData {
    file(&datacentre.account("keeper").unwrap()).session()
}

fn keeper(datacentre: &Simulator) -> Connection {
    Connection::open(&config(), session(datacentre))
}

async fn chat_named(connection: &Connection, username: &str) -> InputChat {
    let found = connection.resolve(username).await.unwrap();
    let hash = chats::access_hash(&found.peer, &found.chats, &found.users);
    assert!(hash.is_some());
    InputChat::new(chats::chat_id(&found.peer), hash)
}

fn messages(page: tl::enums::messages::Messages) -> Vec<tl::enums::Message> {
    match page {
        tl::enums::messages::Messages::Messages(page) => page.messages,
        tl::enums::messages::Messages::Slice(page) => page.messages,
        tl::enums::messages::Messages::ChannelMessages(page) => page.messages,
        tl::enums::messages::Messages::NotModified(_) => panic!("asked without a hash"),
    }
}

fn ids(page: tl::enums::messages::Messages) -> Vec<i32> {
    messages(page).iter().map(tl::enums::Message::id).collect()
}

fn getting_state() -> tl::functions::updates::GetState {
    tl::functions::updates::GetState {}
}

fn refuses(method: &str, code: i32, error: &str) -> Fault {
    Fault::error(code, error).of(method).times(1)
}

#[tokio::test]
async fn a_history_is_read_page_by_page_and_is_what_exists() {
    let datacentre = datacentre().await;
    let keeper = keeper(&datacentre);
    let quay = chat_named(&keeper, "quay").await;
    let mut read = Vec::new();
    let mut offset_id = 0;
    loop {
        let request = HistoryRequest { offset_id, ..HistoryRequest::default() };
        let page = ids(keeper.history(&quay, request).await.unwrap());
        let Some(oldest) = page.last() else { break };
        offset_id = *oldest;
        read.extend(page);
    }
    read.reverse();
    let truth = datacentre.truth(quay.id().0).unwrap();
    let exist: Vec<i32> = truth.iter().map(|message| message.content.message_id).collect();
    assert!(exist.len() > 150);
    assert_eq!(read, exist);

    let bounded = HistoryRequest { offset_id: 100, min_id: 50, ..HistoryRequest::default() };
    let page = ids(keeper.history(&quay, bounded).await.unwrap());
    assert_eq!(page, exist.iter().rev().filter(|id| (51..100).contains(*id)).copied().collect::<Vec<_>>());

    let deleted = (1..300).find(|id| !exist.contains(id)).unwrap();
    let asked = [exist[3], deleted];
    let answered = messages(keeper.messages_by_id(&quay, &asked).await.unwrap());
    assert!(answered.iter().any(|message| message.id() == exist[3] && !matches!(message, tl::enums::Message::Empty(_))));
    assert!(!answered.iter().any(|message| message.id() == deleted && !matches!(message, tl::enums::Message::Empty(_))));

    let floor = truth[100].content.date;
    let before = ids(keeper.newest_before(&quay, i32::try_from(floor).unwrap()).await.unwrap());
    assert_eq!(before.len(), 1);
    let before = truth.iter().find(|message| message.content.message_id == before[0]).unwrap();
    assert!(before.content.date < floor);
}

#[tokio::test]
async fn chats_are_listed_once_and_described() {
    let datacentre = datacentre().await;
    let keeper = keeper(&datacentre);
    let dialogs = keeper.dialogs().await.unwrap();
    assert_eq!(dialogs.dialogs.len(), datacentre.world().chats().len());

    for dialog in &dialogs.dialogs {
        let tl::enums::Dialog::Dialog(dialog) = dialog else { panic!() };
        let hash = chats::access_hash(&dialog.peer, &dialogs.chats, &dialogs.users);
        let chat = InputChat::new(chats::chat_id(&dialog.peer), hash);
        let world = datacentre.world().chat(chat.id().0).unwrap();
        match (keeper.full_chat(&chat).await.unwrap(), world.kind) {
            (FullChat::User(_), ChatKind::Private) => {}
            (FullChat::Chat(_), _) => {}
            (full, kind) => panic!("{kind:?} is described by {full:?}"),
        }
        let newest = keeper.history(&chat, HistoryRequest { limit: 1, ..HistoryRequest::default() }).await.unwrap();
        assert_eq!(ids(newest), [dialog.top_message]);
    }
    let me = keeper.me().await.unwrap();
    assert_eq!(Some(me.id), session(&datacentre).user_id);
    let known = dialogs.users.iter().filter_map(|user| match user {
        tl::enums::User::User(user) => Some((user.id, user.access_hash?)),
        tl::enums::User::Empty(_) => None,
    });
    let known: Vec<(i64, i64)> = known.collect();
    assert_eq!(keeper.users(&known).await.unwrap().len(), known.len());
}

#[tokio::test]
async fn a_short_flood_is_slept_and_a_long_one_goes_back() {
    let datacentre = datacentre().await;
    let keeper = keeper(&datacentre);
    let harbour = chat_named(&keeper, "harbour").await;
    datacentre.flood("messages.getHistory", 1, 1);
    let page = keeper.history(&harbour, HistoryRequest::default()).await.unwrap();
    assert_eq!(ids(page).len(), 100);
    assert_eq!(datacentre.calls("messages.getHistory"), 2);

    datacentre.flood("messages.getHistory", 120, 1);
    let error = keeper.history(&harbour, HistoryRequest::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Flood { method, .. } if method == "messages.getHistory"), "{error:?}");
    assert_eq!(error.wait(), Some(Duration::from_secs(120)));
    assert_eq!(datacentre.calls("messages.getHistory"), 3);
}

#[tokio::test]
async fn a_cut_connection_may_pass_and_the_next_call_goes_through() {
    let datacentre = datacentre().await;
    let keeper = keeper(&datacentre);
    keeper.invoke(&getting_state()).await.unwrap();
    datacentre.set_latency(Duration::from_secs(2));
    let (answer, ()) = tokio::join!(keeper.me(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        datacentre.cut();
    });
    assert!(matches!(answer.unwrap_err(), Error::Transient { source: Cause::Connection(_), .. }));
    datacentre.set_latency(Duration::ZERO);
    keeper.me().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up_in_time() {
    let datacentre = datacentre().await;
    let config = TelegramConfig { request_timeout: Duration::from_millis(1500), ..config() };
    let keeper = Connection::open(&config, session(&datacentre));
    keeper.me().await.unwrap();
    datacentre.set_latency(Duration::from_secs(60));
    let error = keeper.me().await.unwrap_err();
    assert!(matches!(error, Error::Transient { source: Cause::Timeout(_), .. }), "{error:?}");
    datacentre.set_latency(Duration::ZERO);
    keeper.me().await.unwrap();
}

#[tokio::test]
async fn a_key_that_the_datacentre_does_not_know_is_never_replaced() {
    let datacentre = datacentre().await;
    let mut told = datacentre.account("keeper").unwrap();
    told.key = "ab".repeat(256);
    let stranger = Connection::open(&config(), file(&told).session());
    let error = stranger.me().await.unwrap_err();
    assert!(matches!(error, Error::KeyRefused), "{error:?}");
    assert_eq!(stranger.session(), file(&told).session());
}

#[tokio::test]
async fn what_an_account_may_not_see_is_told_apart_from_trouble() {
    let datacentre = datacentre().await;
    let keeper = keeper(&datacentre);
    let error = keeper.resolve("nobody_is_called_so").await.unwrap_err();
    assert!(matches!(error, Error::Inaccessible { name, .. } if name == "USERNAME_NOT_OCCUPIED"));
    let harbour = chat_named(&keeper, "harbour").await;
    datacentre.fail(refuses("messages.getHistory", 400, "CHANNEL_PRIVATE"));
    let error = keeper.history(&harbour, HistoryRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Inaccessible { name, .. } if name == "CHANNEL_PRIVATE"));
    // Another account's access hash is not ours.
    let other = InputChat::new(harbour.id(), Some(1));
    let error = keeper.history(&other, HistoryRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Inaccessible { .. }), "{error:?}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_that_is_lost_stops_and_is_not_asked_again(pool: PgPool) {
    let datacentre = datacentre().await;
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(pool, config(), folder.path().join("seal.key"));
    let imported = file(&datacentre.account("keeper").unwrap());
    let keeper = accounts.import("keeper", &imported.session(), LostKey::Refuse).await.unwrap();
    let connection = accounts.open(keeper.id).await.unwrap();
    connection.me().await.unwrap();

    datacentre.fail(refuses("users.getUsers", 401, "SESSION_REVOKED"));
    let error = connection.me().await.unwrap_err();
    accounts.learn(keeper.id, &error).await.unwrap();
    assert_eq!(accounts.list().await.unwrap()[0].state, AccountState::Lost);
    let told = accounts.open(keeper.id).await.unwrap_err().to_string();
    assert_eq!(told, "account keeper is lost: the account's authorisation is lost (SESSION_REVOKED)");
    let calls = datacentre.calls("users.getUsers");
    assert!(connection.me().await.is_err());
    assert_eq!(datacentre.calls("users.getUsers"), calls);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_login_asks_for_code_and_password_again_until_they_are_right(pool: PgPool) {
    let datacentre = datacentre().await;
    let request = AccountRequest {
        signed_in: Some(false),
        phone: Some("+99966123456".into()),
        password: Some("correct horse".into()),
        ..AccountRequest::named("newcomer")
    };
    let start = file(&datacentre.account_with(&request).unwrap()).session();
    assert_eq!(start.user_id, None);
    let folder = tempfile::tempdir().unwrap();
    let again = || Accounts::new(pool.clone(), config(), folder.path().join("seal.key"));
    let accounts = again();

    let by = |phone: &str| How::Phone(phone.to_owned());
    let refused = accounts.begin_login("newcomer", start.clone(), by("+4900"), LostKey::Refuse).await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::Login(LoginRefusal::PhoneInvalid))), "{refused:?}");
    assert!(accounts.login_under_way("newcomer").await.unwrap().is_none());

    let step = accounts.begin_login("newcomer", start, by("+99966123456"), LostKey::Refuse).await.unwrap();
    assert!(matches!(&step, Step::Code { delivery } if delivery.contains("app")));
    let code = datacentre.code("99966123456").unwrap();
    let wrong = if code == "00000" { "11111" } else { "00000" };
    let refused = accounts.give_code("newcomer", wrong).await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::Login(LoginRefusal::CodeWrong))), "{refused:?}");
    assert!(matches!(accounts.give_password("newcomer", "x").await.unwrap_err(), account::Error::OtherStep));
    drop(accounts);

    // each step may be another process's
    let accounts = again();
    assert_eq!(accounts.login_under_way("newcomer").await.unwrap(), Some(step));
    assert!(matches!(accounts.give_code("newcomer", &code).await.unwrap(), Step::Password { .. }));
    drop(accounts);
    let accounts = again();
    assert!(matches!(accounts.login_under_way("newcomer").await.unwrap(), Some(Step::Password { .. })));
    let refused = accounts.give_password("newcomer", "wrong horse").await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::Login(LoginRefusal::PasswordWrong))), "{refused:?}");
    let Step::Done(account) = accounts.give_password("newcomer", "correct horse").await.unwrap() else { panic!("not done") };
    assert!(accounts.login_under_way("newcomer").await.unwrap().is_none());
    let left: i64 = sqlx::query_scalar("select count(*) from account_login").fetch_one(accounts.pool()).await.unwrap();
    assert_eq!(left, 0);
    let connection = accounts.open(account.id).await.unwrap();
    assert_eq!(Some(connection.me().await.unwrap().id), account.user_id);
    assert!(matches!(accounts.reader_of(ChatId(1)).await.unwrap_err(), telekeep::account::Error::NoReader(_)));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_session_string_says_not_whose_it_is_and_telegram_does(pool: PgPool) {
    let datacentre = datacentre().await;
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(pool, config(), folder.path().join("seal.key"));
    let made = file(&datacentre.account("keeper").unwrap());
    let nameless = SessionData { user_id: None, ..made.session() };
    let string = session_string::write(&nameless, Format::Telethon, made.address, 1).unwrap();
    let read = session_string::read_all(Path::new("keeper.txt"), format!("keeper {string}").as_bytes()).unwrap();

    let keeper = accounts.import(read[0].label.as_deref().unwrap(), &read[0].session, LostKey::Refuse).await.unwrap();
    assert_eq!((keeper.label.as_str(), keeper.user_id), ("keeper", made.user_id));
    let exported = accounts.export(keeper.id, Format::Telethon).await.unwrap();
    assert_eq!(exported.as_deref(), Some(string.as_str()));
    let connection = accounts.open(keeper.id).await.unwrap();
    assert_eq!(Some(connection.me().await.unwrap().id), made.user_id);
    assert!(matches!(accounts.export(keeper.id, Format::Telethon).await, Err(account::Error::InUse { .. })));

    accounts.log_out(keeper.id).await.unwrap();
    let gone = accounts.open(keeper.id).await.unwrap_err();
    assert!(matches!(gone, account::Error::NotActive { state: AccountState::Lost, .. }), "{gone:?}");
    // a session that Telegram refuses is not kept
    let refused = accounts.import("again", &read[0].session, LostKey::Refuse).await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::AccountLost { .. })), "{refused:?}");
    assert_eq!(accounts.list().await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_app_scans_the_code_and_a_bot_has_a_token(pool: PgPool) {
    let datacentre = datacentre().await;
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(pool, config(), folder.path().join("seal.key"));
    let app = keeper(&datacentre);
    let blank = |name: &str| AccountRequest { signed_in: Some(false), ..AccountRequest::named(name) };
    let start = file(&datacentre.account_with(&blank("screen")).unwrap()).session();

    let step = accounts.begin_login("mine", start, How::Qr, LostKey::Refuse).await.unwrap();
    let Step::Scan(qr) = &step else { panic!("{step:?}") };
    assert!(!format!("{step:?}").contains(&qr.0));
    let token = qr.0.strip_prefix("tg://login?token=").unwrap();
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
    app.invoke(&tl::functions::auth::AcceptLoginToken { token }).await.unwrap();
    let Step::Done(mine) = accounts.look_for_scan("mine").await.unwrap() else { panic!("was scanned") };
    assert_eq!(mine.user_id, Some(app.me().await.unwrap().id));

    let request = AccountRequest { bot_token: Some("77:right".to_owned()), ..blank("robot") };
    let start = file(&datacentre.account_with(&request).unwrap()).session();
    let bot = |token: &str| How::Bot(token.to_owned());
    let refused = accounts.begin_login("robot", start.clone(), bot("77:wrong"), LostKey::Refuse).await.unwrap_err();
    assert!(matches!(refused, account::Error::Telegram(Error::Login(LoginRefusal::TokenInvalid))), "{refused:?}");
    let step = accounts.begin_login("robot", start, bot("77:right"), LostKey::Refuse).await.unwrap();
    assert!(matches!(&step, Step::Done(robot) if robot.label == "robot"), "{step:?}");
}
