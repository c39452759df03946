//! Codes, bots, QR codes, and the list of authorizations.

use telekeep_simulator::{AccountRequest, Standing};

use super::raw::{Envelope, Padding, Raw};
use super::*;

const PHONE: &str = "9996612345";
const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

/// A key that nobody has signed in with.
async fn stranger(simulator: &Simulator) -> Raw {
    let mut raw = Raw::connect(simulator.addr(), Envelope::Abridged).await;
    raw.exchange(simulator, Padding::Current).await;
    raw
}

pub async fn send_code(raw: &mut Raw, phone: &str) -> Result<tl::types::auth::SentCode, String> {
    let call = tl::functions::auth::SendCode {
        phone_number: phone.to_owned(),
        api_id: 1,
        api_hash: "hash".to_owned(),
        settings: tl::types::CodeSettings {
            allow_flashcall: false,
            current_number: false,
            allow_app_hash: false,
            allow_missed_call: false,
            allow_firebase: false,
            unknown_number: false,
            logout_tokens: None,
            token: None,
            app_sandbox: None,
        }
        .into(),
    };
    match raw.call(&call).await? {
        tl::enums::auth::SentCode::Code(sent) => Ok(sent),
        other => panic!("{other:?}"),
    }
}

async fn sign_in(raw: &mut Raw, phone: &str, hash: &str, code: &str) -> Result<tl::enums::auth::Authorization, String> {
    raw.call(&tl::functions::auth::SignIn {
        phone_number: phone.to_owned(),
        phone_code_hash: hash.to_owned(),
        phone_code: (!code.is_empty()).then(|| code.to_owned()),
        email_verification: None,
    })
    .await
}

async fn authorizations(raw: &mut Raw) -> Vec<tl::types::Authorization> {
    let call = tl::functions::account::GetAuthorizations {};
    let tl::enums::account::Authorizations::Authorizations(told) = raw.call(&call).await.expect("a list");
    told.authorizations.into_iter().map(|tl::enums::Authorization::Authorization(told)| told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_refused_resent_cancelled_and_expire() {
    let simulator = simulator().await;
    simulator
        .account_with(&AccountRequest { phone: Some(PHONE.to_owned()), ..AccountRequest::named("newcomer") })
        .expect("an account");
    let mut raw = stranger(&simulator).await;
    assert_eq!(send_code(&mut raw, "+1 23").await.unwrap_err(), "400 PHONE_NUMBER_INVALID");
    let sent = send_code(&mut raw, PHONE).await.expect("a code");
    let code = simulator.code(PHONE).expect("was sent");
    let hash = &sent.phone_code_hash;
    let wrong = if code == "00000" { "11111" } else { "00000" };
    assert_eq!(sign_in(&mut raw, PHONE, hash, wrong).await.unwrap_err(), "400 PHONE_CODE_INVALID");
    assert_eq!(sign_in(&mut raw, PHONE, hash, "").await.unwrap_err(), "400 PHONE_CODE_EMPTY");
    assert_eq!(sign_in(&mut raw, PHONE, "another", &code).await.unwrap_err(), "400 PHONE_CODE_EXPIRED");

    let resend = tl::functions::auth::ResendCode { phone_number: PHONE.to_owned(), phone_code_hash: hash.clone(), reason: None };
    let tl::enums::auth::SentCode::Code(resent) = raw.call(&resend).await.expect("another way") else { panic!("no code") };
    assert!(matches!(resent.r#type, tl::enums::auth::SentCodeType::Sms(_)));
    assert!(matches!(resent.next_type, Some(tl::enums::auth::CodeType::Call)));
    let tl::enums::auth::SentCode::Code(resent) = raw.call(&resend).await.expect("another way") else { panic!("no code") };
    assert!(matches!(resent.r#type, tl::enums::auth::SentCodeType::Call(_)) && resent.next_type.is_none());
    assert_eq!(raw.call(&resend).await.unwrap_err(), "406 SEND_CODE_UNAVAILABLE");
    let cancel = tl::functions::auth::CancelCode { phone_number: PHONE.to_owned(), phone_code_hash: hash.clone() };
    assert!(raw.call(&cancel).await.expect("cancels"));
    assert_eq!(sign_in(&mut raw, PHONE, hash, &code).await.unwrap_err(), "400 PHONE_CODE_EXPIRED");

    let sent = send_code(&mut raw, PHONE).await.expect("a code");
    simulator.expire_codes();
    let code = simulator.code(PHONE).expect("was sent");
    assert_eq!(sign_in(&mut raw, PHONE, &sent.phone_code_hash, &code).await.unwrap_err(), "400 PHONE_CODE_EXPIRED");

    let sent = send_code(&mut raw, "99966777777").await.expect("also to a number that nobody has");
    let code = simulator.code("99966777777").expect("was sent");
    let answer = sign_in(&mut raw, "99966777777", &sent.phone_code_hash, &code).await.expect("an answer");
    assert!(matches!(answer, tl::enums::auth::Authorization::SignUpRequired(_)));
    simulator.set_standing("newcomer", Standing::Banned).expect("an account");
    assert_eq!(send_code(&mut raw, PHONE).await.unwrap_err(), "400 PHONE_NUMBER_BANNED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_signs_in_with_its_token() {
    let simulator = simulator().await;
    let bot = AccountRequest { bot_token: Some("12:secret".to_owned()), signed_in: Some(false), ..AccountRequest::named("bot") };
    let client = client(&simulator.account_with(&bot).expect("an account"));
    assert!(client.bot_sign_in("12:wrong", "hash").await.is_err_and(|error| error.is("ACCESS_TOKEN_INVALID")));
    client.bot_sign_in("12:secret", "hash").await.expect("signs in");
    assert!(client.get_me().await.expect("me").is_bot());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_code_signs_in_once_another_session_accepts_it() {
    let options = Options { datacentres: 2, ..Options::default() };
    let simulator = Simulator::start(world(), options).await.expect("starts");
    let mut keeper = Raw::of(&simulator.account("keeper").expect("an account")).await;
    let export = tl::functions::auth::ExportLoginToken { api_id: 1, api_hash: "hash".to_owned(), except_ids: Vec::new() };
    let mut waiting = stranger(&simulator).await;
    let tl::enums::auth::LoginToken::Token(told) = waiting.call(&export).await.expect("a token") else { panic!("no token") };
    let accept = |token: &[u8]| tl::functions::auth::AcceptLoginToken { token: token.to_vec() };
    assert_eq!(keeper.call(&accept(b"another")).await.unwrap_err(), "400 AUTH_TOKEN_INVALIDX");
    keeper.call(&accept(&told.token)).await.expect("accepts");
    assert_eq!(keeper.call(&accept(&told.token)).await.unwrap_err(), "400 AUTH_TOKEN_ALREADY_ACCEPTED");
    let update = waiting.next_of::<tl::types::UpdateShort>().await;
    assert_eq!(update.update, tl::enums::Update::LoginToken);
    let answer = waiting.call(&export).await.expect("success");
    assert!(matches!(answer, tl::enums::auth::LoginToken::Success(_)), "{answer:?}");
    waiting.call(&GET_STATE).await.expect("is signed in");

    // Asked for in another datacentre than the account's.
    let mut waiting = Raw::connect(simulator.addresses()[&1], Envelope::Intermediate).await;
    waiting.exchange(&simulator, Padding::Older).await;
    let tl::enums::auth::LoginToken::Token(told) = waiting.call(&export).await.expect("a token") else { panic!("no token") };
    keeper.call(&accept(&told.token)).await.expect("accepts");
    let answer = waiting.call(&export).await.expect("where to go");
    let tl::enums::auth::LoginToken::MigrateTo(there) = answer else { panic!("{answer:?}") };
    assert_eq!(there.dc_id, 2);
    let mut waiting = stranger(&simulator).await;
    let import = tl::functions::auth::ImportLoginToken { token: there.token };
    let answer = waiting.call(&import).await.expect("success");
    assert!(matches!(answer, tl::enums::auth::LoginToken::Success(_)), "{answer:?}");
    assert_eq!(waiting.call(&import).await.unwrap_err(), "400 AUTH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizations_are_listed_and_ended() {
    let simulator = simulator().await;
    let keeper = simulator.account_with(&AccountRequest { phone: Some(PHONE.to_owned()), ..AccountRequest::named("keeper") });
    let mut first = Raw::of(&keeper.expect("an account")).await;
    let init = tl::functions::InvokeWithLayer {
        layer: 230,
        query: tl::functions::InitConnection {
            api_id: 7,
            device_model: "lighthouse".to_owned(),
            system_version: "1".to_owned(),
            app_version: "2".to_owned(),
            system_lang_code: "en".to_owned(),
            lang_pack: String::new(),
            lang_code: "en".to_owned(),
            proxy: None,
            params: None,
            query: GET_STATE,
        },
    };
    first.call(&init).await.expect("the state");
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut raw = stranger(&simulator).await;
        let sent = send_code(&mut raw, PHONE).await.expect("a code");
        let code = simulator.code(PHONE).expect("was sent");
        sign_in(&mut raw, PHONE, &sent.phone_code_hash, &code).await.expect("signs in");
        let update = first.next_of::<tl::types::UpdateShort>().await;
        assert!(matches!(update.update, tl::enums::Update::NewAuthorization(_)));
        others.push(raw);
    }
    let listed = authorizations(&mut first).await;
    assert_eq!(listed.len(), 4);
    assert!(listed[0].current && listed[0].hash == 0 && listed[0].device_model == "lighthouse" && listed[0].api_id == 7);
    assert!(listed[1..].iter().all(|told| !told.current && told.ip == "127.0.0.1"));

    let end = |hash| tl::functions::account::ResetAuthorization { hash };
    assert_eq!(first.call(&end(1)).await.unwrap_err(), "400 HASH_INVALID");
    let mine = authorizations(&mut others[0]).await.into_iter().find(|told| told.current).expect("its own").date_created;
    assert!(mine > 0);
    for told in &listed[1..2] {
        assert!(first.call(&end(told.hash)).await.expect("ends it"));
    }
    assert!(first.call(&tl::functions::auth::ResetAuthorizations {}).await.expect("ends the others"));
    let mut told = Vec::new();
    for other in &mut others {
        told.push(other.call(&GET_STATE).await.unwrap_err());
    }
    told.sort();
    assert_eq!(told, ["401 AUTH_KEY_UNREGISTERED", "401 SESSION_REVOKED", "401 SESSION_REVOKED"]);
    assert_eq!(authorizations(&mut first).await.len(), 1);
}
