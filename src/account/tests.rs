//! Accounts on a real Postgres, without a datacentre.

use std::path::Path;

use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::record::ChatId;
use crate::telegram::{Cause, Error as Failed};

fn accounts(pool: &PgPool, folder: &tempfile::TempDir) -> Accounts {
    Accounts::new(pool.clone(), TelegramConfig::new(1, "hash"), folder.path().join("seal.key"))
}

fn file(user_id: i64, key: &str) -> SessionFile {
    let text = json!({"dc": 2, "address": "127.0.0.1", "port": 9, "key": key.repeat(256), "user_id": user_id});
    SessionFile::parse(Path::new("test.json"), text.to_string().as_bytes()).unwrap()
}

async fn state_of(accounts: &Accounts, id: AccountId) -> AccountState {
    let all = accounts.list().await.unwrap();
    all.iter().find(|account| account.id == id).unwrap().state
}

fn is_closed(error: &Failed) -> bool {
    matches!(error, Failed::Transient { source: Cause::Closed, .. })
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_imported_account_opens_after_a_restart(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let anna = accounts(&pool, &folder).import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap();
    assert_eq!((anna.label.as_str(), anna.user_id, anna.state), ("anna", Some(7), AccountState::Active));

    let bytes: Vec<u8> = sqlx::query_scalar("select session from account").fetch_one(&pool).await.unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("abab"), "no key in Postgres");

    let later = accounts(&pool, &folder);
    let connection = later.open(anna.id).await.unwrap();
    assert_eq!(connection.session(), file(7, "ab").session());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_lost_key_file_stops_with_a_remedy_and_a_new_import_mends_it(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let anna = accounts(&pool, &folder).import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap();
    std::fs::remove_file(folder.path().join("seal.key")).unwrap();

    let later = accounts(&pool, &folder);
    let lost = |error| matches!(error, Error::Seal(seal::Error::Lost { sealed: 1, .. }));
    assert!(lost(later.open(anna.id).await.unwrap_err()));
    assert!(lost(later.import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap_err()));
    later.import("anna", &file(7, "ab").session(), LostKey::Replace).await.unwrap();
    later.open(anna.id).await.unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn another_key_file_is_told_apart(pool: PgPool) {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let anna = accounts(&pool, &ours).import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap();
    std::fs::write(theirs.path().join("seal.key"), "00".repeat(32)).unwrap();
    std::process::Command::new("chmod").arg("600").arg(theirs.path().join("seal.key")).status().unwrap();
    let error = accounts(&pool, &theirs).open(anna.id).await.unwrap_err();
    assert!(matches!(error, Error::Seal(seal::Error::WrongKey { .. })), "{error:?}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn importing_again_renews_the_same_user_and_never_takes_anothers_label(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(&pool, &folder);
    let anna = accounts.import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap();
    let before = accounts.open(anna.id).await.unwrap();

    let again = accounts.import("another label", &file(7, "cd").session(), LostKey::Refuse).await.unwrap();
    assert_eq!((again.id, again.label.as_str()), (anna.id, "anna"));
    let after = accounts.open(anna.id).await.unwrap();
    assert_eq!(after.session(), file(7, "cd").session(), "the renewed session is used at once");
    let closed = before.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
    assert!(is_closed(&closed), "{closed:?}");

    let taken = accounts.import("anna", &file(8, "ab").session(), LostKey::Refuse).await.unwrap_err();
    assert!(matches!(taken, Error::LabelTaken { .. }));
    assert_eq!(accounts.list().await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_a_failure_says_of_an_account_is_recorded(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(&pool, &folder);
    let anna = accounts.import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap().id;
    let history = "messages.getHistory";
    let flood = |seconds| Failed::Flood { method: history.into(), wait: Duration::from_secs(seconds) };

    accounts.learn(anna, &flood(120)).await.unwrap();
    accounts.learn(anna, &flood(10)).await.unwrap();
    let rests = accounts.resting(anna, history).await.unwrap().unwrap();
    assert!((115..=120).contains(&rests.as_secs()), "a shorter wait does not end a longer one: {rests:?}");
    assert_eq!(accounts.resting(anna, "channels.getFullChannel").await.unwrap(), None);

    accounts.learn(anna, &Failed::PeerFlood { method: history.into() }).await.unwrap();
    let rests = accounts.resting(anna, "channels.getFullChannel").await.unwrap().unwrap();
    assert!(rests > Duration::from_secs(86_000));

    accounts.open(anna).await.unwrap();
    accounts.learn(anna, &Failed::KeyDuplicated).await.unwrap();
    assert_eq!(state_of(&accounts, anna).await, AccountState::Held);
    let told = accounts.open(anna).await.unwrap_err().to_string();
    assert_eq!(told, "account anna is held: the session was used in two places at once (AUTH_KEY_DUPLICATED)");

    let lost = Failed::AccountLost { name: "SESSION_REVOKED".into() };
    accounts.learn(anna, &lost).await.unwrap();
    accounts.learn(anna, &Failed::KeyDuplicated).await.unwrap();
    assert_eq!(state_of(&accounts, anna).await, AccountState::Lost, "what is lost stays lost");
    accounts.import("anna", &file(7, "cd").session(), LostKey::Refuse).await.unwrap();
    assert_eq!(state_of(&accounts, anna).await, AccountState::Active);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_reader_is_the_watchs_own_or_one_that_can(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(&pool, &folder);
    let chat = ChatId(-1_001_234_567_890);
    let mut ids = Vec::new();
    for (label, user) in [("anna", 1), ("bert", 2), ("carl", 3)] {
        ids.push(accounts.import(label, &file(user, "ab").session(), LostKey::Refuse).await.unwrap().id);
    }
    let [anna, bert, carl] = ids[..] else { panic!() };
    assert!(matches!(accounts.reader_of(chat).await.unwrap_err(), Error::NoReader(_)));

    let known = |access_hash, username: Option<&str>| Peer { id: chat.0, access_hash, username: username.map(str::to_owned) };
    let stranger = accounts.note_peers(carl, &[known(Some(44), None)]).await.unwrap_err();
    assert!(matches!(stranger, Error::LeaseOver(_)), "only who holds an account writes for it: {stranger:?}");
    accounts.lease(carl).await.unwrap();
    accounts.note_peers(carl, &[known(Some(33), None), known(None, Some("news"))]).await.unwrap();
    accounts.note_peers(carl, &[known(None, Some("news"))]).await.unwrap();
    let reader = accounts.reader_of(chat).await.unwrap();
    assert_eq!((reader.account, reader.access_hash), (carl, Some(33)), "an absent hash erases none");

    for (account, readable) in [(anna, false), (bert, true)] {
        sqlx::query("insert into coverage_access (chat_id, account_id, readable) values ($1, $2, $3)")
            .bind(chat.0)
            .bind(account.0)
            .bind(readable)
            .execute(&pool)
            .await
            .unwrap();
    }
    assert_eq!(accounts.reader_of(chat).await.unwrap().account, bert);

    sqlx::query("insert into watch (chat_id, reader_id) values ($1, $2)").bind(chat.0).bind(carl.0).execute(&pool).await.unwrap();
    assert_eq!(accounts.reader_of(chat).await.unwrap().account, carl);
    accounts.learn(carl, &Failed::KeyDuplicated).await.unwrap();
    assert_eq!(accounts.reader_of(chat).await.unwrap().account, bert);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_session_that_changes_is_saved(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = accounts(&pool, &folder);
    let anna = accounts.import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap().id;
    let connection = accounts.open(anna).await.unwrap();
    let elsewhere = self::accounts(&pool, &folder);
    assert!(matches!(elsewhere.open(anna).await.unwrap_err(), Error::InUse { .. }), "one process at a time");
    let sealed = || async { sqlx::query_scalar::<_, Vec<u8>>("select session from account").fetch_one(&pool).await.unwrap() };
    let before = sealed().await;
    connection.signed_in_as(8, None);
    let mut tries = 0;
    while sealed().await == before {
        tries += 1;
        assert!(tries < 100, "the change was not saved");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its own save is not taken for somebody else's.
    accounts.open(anna).await.unwrap();
    assert_eq!(connection.session().user_id, Some(8));
    let under_way = connection.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
    assert!(!is_closed(&under_way), "{under_way:?}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_rotation_seals_all_anew_and_goes_on_where_it_was_stopped(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let first = accounts(&pool, &folder);
    let anna = first.import("anna", &file(7, "ab").session(), LostKey::Refuse).await.unwrap();
    let ben = first.import("ben", &file(8, "cd").session(), LostKey::Refuse).await.unwrap();
    let before = std::fs::read_to_string(folder.path().join("seal.key")).unwrap();

    let connection = first.open(ben.id).await.unwrap();
    let stopped = accounts(&pool, &folder).rotate_key().await.unwrap_err();
    assert!(matches!(&stopped, Error::InUse { label, .. } if label == "ben"), "{stopped:?}");
    // half-way, both keys are there and all opens
    assert_eq!(std::fs::read_to_string(folder.path().join("seal.key")).unwrap().lines().count(), 2);
    let third = accounts(&pool, &folder);
    third.open(anna.id).await.unwrap();
    third.close().await;
    first.close().await;
    drop((first, connection));

    let rotation = accounts(&pool, &folder).rotate_key().await.unwrap();
    assert_eq!((rotation.sealed, rotation.old_forgotten), (1, true));
    let after = std::fs::read_to_string(folder.path().join("seal.key")).unwrap();
    assert!(after.lines().count() == 1 && after != before);
    let later = accounts(&pool, &folder);
    assert_eq!(later.open(anna.id).await.unwrap().session(), file(7, "ab").session());
    assert_eq!(later.open(ben.id).await.unwrap().session(), file(8, "cd").session());
    let ids: Vec<String> = sqlx::query_scalar("select distinct session_key_id from account").fetch_all(&pool).await.unwrap();
    assert_eq!(ids, [rotation.key_id]);
}
