//! Signing in as a person does: by phone, by token, by sessions that other programs wrote.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sqlx::PgPool;
use telekeep::account::{Accounts, Format, How, LostKey, SessionFile, Step, session_string};
use telekeep::telegram::{Connection, SessionData, TelegramConfig, tl};
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, Simulator, World};

use crate::installation::until;
use crate::installed::{Installed, datacentre};
use crate::talk::Talk;

const PHONE: &str = "+99966123456";
const DIGITS: &str = "99966123456";
const PASSWORD: &str = "correct horse";
const HINT: &str = "what xkcd said";

async fn world() -> Simulator {
    datacentre(World::generated(7, [GeneratedChat::new(ChatKind::Channel, "Harbour", 250).named("harbour")])).await
}

/// An installation without accounts, that signs in at this datacentre.
fn installed(datacentre: &Simulator, pool: &PgPool, request: AccountRequest) -> Installed {
    let telekeep = Installed::empty(pool);
    let start = datacentre.account_with(&AccountRequest { signed_in: Some(false), ..request }).unwrap();
    std::fs::write(telekeep.path("start.json"), serde_json::to_vec(&start).unwrap()).unwrap();
    let configuration = "[telegram]\napi_id = 1\napi_hash = \"0123456789abcdef0123456789abcdef\"\ndatacentre = \"start.json\"\n";
    std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
    telekeep
}

fn by_phone() -> AccountRequest {
    AccountRequest {
        phone: Some(PHONE.into()),
        password: Some(PASSWORD.into()),
        password_hint: Some(HINT.into()),
        ..AccountRequest::named("newcomer")
    }
}

/// The code that was sent last.
async fn code(datacentre: &Simulator) -> String {
    until("a code", || async { datacentre.code(DIGITS).is_some() }).await;
    datacentre.code(DIGITS).unwrap()
}

fn another(code: &str) -> &'static str {
    if code == "00000" { "11111" } else { "00000" }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_phone_with_every_way_of_a_code_and_a_password_over_a_restart(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, by_phone());
    let mut talk = Talk::begins(telekeep.command(&["account", "login"]));
    talk.asks("phone number").await;
    talk.answer(PHONE);
    talk.tells("a code was sent: a message in the Telegram app").await;
    talk.asks("code (nothing: send another)").await;
    talk.answer(another(&code(&datacentre).await));
    talk.asks("that code is not right; look again").await;
    talk.answer("");
    talk.tells("a code was sent: an SMS").await;
    talk.answer("");
    talk.tells("a code was sent: a phone call").await;
    talk.answer("");
    talk.asks("Telegram has no other way to send the code").await;
    // Too old: what to do is told, and does it.
    datacentre.expire_codes();
    let old = code(&datacentre).await;
    talk.answer(&old);
    talk.asks("the code has expired: ask for a new one").await;
    talk.answer("");
    talk.tells("a code was sent: a message in the Telegram app").await;
    talk.asks("code (nothing: send another)").await;
    talk.answer(&code(&datacentre).await);
    talk.asks(&format!("two-step password (hint: {HINT})")).await;
    talk.kill();

    let mut talk = Talk::begins(telekeep.command(&["account", "login"]));
    talk.tells("the login of main goes on where it stopped").await;
    talk.asks(&format!("two-step password (hint: {HINT})")).await;
    talk.answer("wrong horse");
    talk.asks("that password is not right; try again").await;
    talk.answer(PASSWORD);
    talk.tells("account main is signed in").await;
    talk.tells("1 chats are known to it").await;
    let (status, said) = talk.ends().await;
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains(DIGITS) && !said.contains(PASSWORD));

    // The phone is sealed, and told on demand alone.
    assert_eq!(telekeep.does(&["account", "show", "main", "--phone"]).trim(), DIGITS);
    for arguments in [&["account", "show", "main"][..], &["account", "show", "main", "--json"], &["account", "list", "--json"]] {
        assert!(!telekeep.does(arguments).contains(DIGITS), "{arguments:?}");
    }
    let chat = datacentre.world().chats()[0].id.to_string();
    telekeep.does(&["collect", &chat]);
    assert_eq!(telekeep.documents(chat.parse().unwrap()).len(), 250);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_phone_that_is_none_is_told_and_asked_for_again(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, by_phone());
    let mut talk = Talk::begins(telekeep.command(&["account", "login"]));
    talk.asks("phone number").await;
    talk.answer("");
    talk.asks("phone number").await;
    talk.answer("+49");
    let (status, said) = talk.ends().await;
    assert!(status == Some(2) && said.contains("give it in international form"), "{status:?} {said}");
    assert!(telekeep.does(&["account", "list"]).starts_with("no accounts"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_bot_signs_in_with_its_token_and_a_wrong_one_is_told(pool: PgPool) {
    let datacentre = world().await;
    let bot = AccountRequest { bot_token: Some("77:right".into()), ..AccountRequest::named("robot") };
    let telekeep = installed(&datacentre, &pool, bot);
    for (token, ends, tells) in
        [("77:wrong", Some(2), "ask @BotFather for the right one"), ("77:right", Some(0), "account robot is signed in")]
    {
        let mut talk = Talk::begins(telekeep.command(&["account", "login", "--bot", "--label", "robot"]));
        talk.asks("the bot's token").await;
        talk.answer(token);
        let (status, said) = talk.ends().await;
        assert!(status == ends && said.contains(tells) && !said.contains(token), "{token}: {status:?} {said}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_scanned_code_asks_for_the_password(pool: PgPool) {
    use base64::Engine;
    let datacentre = world().await;
    let phone =
        AccountRequest { password: Some(PASSWORD.into()), password_hint: Some(HINT.into()), ..AccountRequest::named("app") };
    let file = |told| SessionFile::parse(Path::new("test.json"), &serde_json::to_vec(&told).unwrap()).unwrap().session();
    let app = Connection::open(&TelegramConfig::new(1, "hash"), file(datacentre.account_with(&phone).unwrap()));
    let blank = AccountRequest { signed_in: Some(false), ..AccountRequest::named("screen") };
    let start = file(datacentre.account_with(&blank).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(pool, TelegramConfig::new(1, "hash"), folder.path().join("seal.key"));
    let Step::Scan(qr) = accounts.begin_login("mine", start, How::Qr, LostKey::Refuse).await.unwrap() else { panic!("no picture") };
    let token = qr.0.strip_prefix("tg://login?token=").unwrap();
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
    app.invoke(&tl::functions::auth::AcceptLoginToken { token }).await.unwrap();
    let step = accounts.look_for_scan("mine").await.unwrap();
    assert_eq!(step, Step::Password { hint: Some(HINT.into()) });
    assert!(accounts.give_password("mine", "wrong horse").await.is_err());
    let Step::Done(mine) = accounts.give_password("mine", PASSWORD).await.unwrap() else { panic!("not done") };
    assert_eq!(mine.user_id, Some(app.me().await.unwrap().id));
}

/// What the datacentre knows of an account's authorizations.
fn authorizations(datacentre: &Simulator, account: &str) -> Vec<Value> {
    let url = format!("{}/accounts/{account}/authorizations", datacentre.control_url());
    let told = Command::new("curl").args(["-fsS", "--noproxy", "*", &url]).output().unwrap();
    serde_json::from_slice(&told.stdout).unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_device_is_chosen_once_and_stays_over_a_renewed_login(pool: PgPool) {
    let datacentre = world().await;
    let plain = AccountRequest { phone: Some(PHONE.into()), ..AccountRequest::named("newcomer") };
    let telekeep = installed(&datacentre, &pool, plain);
    let base = std::fs::read_to_string(telekeep.path("telekeep.toml")).unwrap();
    for model in ["Lighthouse", "Another"] {
        std::fs::write(
            telekeep.path("telekeep.toml"),
            format!("{base}[telegram.device]\nmodel = \"{model}\"\nlanguage = \"de\"\n"),
        )
        .unwrap();
        let mut talk = Talk::begins(telekeep.command(&["account", "login", "--anew"]));
        talk.asks("phone number").await;
        talk.answer(PHONE);
        talk.asks("code (nothing").await;
        talk.answer(&code(&datacentre).await);
        let (status, said) = talk.ends().await;
        assert_eq!(status, Some(0), "{said}");
        let devices: Vec<Value> = authorizations(&datacentre, "newcomer").into_iter().map(|one| one["device"].clone()).collect();
        assert!(!devices.is_empty());
        for device in devices {
            let device = device.to_string();
            assert!(device.contains("Lighthouse") && !device.contains("Another"), "{device}");
        }
    }
    std::fs::write(telekeep.path("telekeep.toml"), format!("{base}[telegram.device]\nmodell = \"x\"\n")).unwrap();
    assert!(telekeep.refuses(&["account", "list"]).contains("telekeep.toml:"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn sessions_of_other_programs_are_taken_over_and_given_away(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = Installed::empty(&pool);
    let made = datacentre.account("keeper").unwrap();
    let session = SessionFile::parse(Path::new("x.json"), &serde_json::to_vec(&made).unwrap()).unwrap();
    let nameless = SessionData { user_id: None, ..session.session() };
    let telethon = session_string::write(&nameless, Format::Telethon, session.address, 1).unwrap();
    let pyrogram =
        session_string::write(&SessionData { user_id: Some(77), ..session.session() }, Format::Pyrogram, session.address, 1)
            .unwrap();

    // One bad line among many: its number is told, nothing of it, and nothing is taken over.
    std::fs::write(telekeep.path("many.txt"), format!("# ours\nanna {telethon}\nben {}\n", &pyrogram[..300])).unwrap();
    let told = telekeep.refuses(&["account", "import", "many.txt"]);
    assert!(told.contains("many.txt, line 3") && !told.contains(&pyrogram[40..80]), "{told}");
    assert!(telekeep.does(&["account", "list"]).starts_with("no accounts"));

    std::fs::write(telekeep.path("one.txt"), format!("{telethon}\n")).unwrap();
    assert!(telekeep.does(&["account", "import", "one.txt", "--label", "anna"]).contains("account anna is imported"));
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    assert_eq!(telekeep.documents(chat).len(), 250);
    // Pyrogram's names its user and no address: it is Telegram's own, which is not asked without an identity there.
    std::fs::write(telekeep.path("two.txt"), format!("ben: {pyrogram}\n")).unwrap();
    assert!(telekeep.does(&["account", "import", "two.txt"]).contains("account ben is imported"));

    // Given away only after a warning, and taken back in each form.
    let refused = telekeep.refuses(&["account", "export", "anna"]);
    assert!(refused.contains("Whoever has this text has the account"), "{refused}");
    assert_eq!(telekeep.does(&["account", "export", "anna", "--yes", "--format", "telethon"]).trim(), telethon);
    let ours = telekeep.does(&["account", "export", "anna", "--yes"]);
    std::fs::write(telekeep.path("back.json"), &ours).unwrap();
    assert!(telekeep.does(&["account", "import", "back.json"]).contains("account anna is imported"));

    assert!(telekeep.does(&["account", "logout", "anna"]).contains("account anna is logged out"));
    assert!(telekeep.does(&["account", "list"]).contains("lost"));
    let output = telekeep.runs(&["account", "import", "one.txt", "--label", "again"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("AUTH_KEY_UNREGISTERED"), "{told}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_session_that_telethon_itself_wrote_reads_history(pool: PgPool) {
    let Some(python) = std::env::var_os("TELEKEEP_PYTHON") else {
        println!("skipped: TELEKEEP_PYTHON names no Python with the clients; eval \"$(scripts/up --python)\" makes one");
        return;
    };
    let datacentre = world().await;
    datacentre.account_with(&AccountRequest { phone: Some(PHONE.into()), ..AccountRequest::named("anna") }).unwrap();
    let telekeep = Installed::empty(&pool);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/telethon_session.py");
    let control = datacentre.control_url();
    let written = Command::new(python).arg("-B").arg(program).args([&control, PHONE]).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    std::fs::write(telekeep.path("anna.txt"), &written.stdout).unwrap();
    assert!(telekeep.does(&["account", "import", "anna.txt"]).contains("account anna is imported"));
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    assert_eq!(telekeep.documents(chat).len(), datacentre.truth(chat).unwrap().len());
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
    assert_eq!(telekeep.does(&["account", "show", "anna", "--phone"]).trim(), DIGITS);
}
