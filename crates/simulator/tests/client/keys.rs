//! Key exchange, transports, keys that end.

use std::time::Duration;

use grammers_tl_types::Serializable;
use telekeep_simulator::{AccountRequest, Ended, Offence};

use super::raw::{Envelope, Exchange, Padding, Raw, Received};
use super::*;

const GET_CONFIG: tl::functions::help::GetConfig = tl::functions::help::GetConfig {};
const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

fn newcomer() -> AccountRequest {
    AccountRequest {
        signed_in: Some(false),
        phone: Some("+99966 54321".to_owned()),
        password: Some("low tide".to_owned()),
        ..AccountRequest::named("newcomer")
    }
}

/// Signs in by code and password.
async fn sign_in_whole(raw: &mut Raw, simulator: &Simulator) -> Result<tl::enums::auth::Authorization, String> {
    let phone = "9996654321".to_owned();
    let sent = sign_in::send_code(raw, &phone).await?;
    let code = simulator.code(&phone).expect("was sent");
    let call = tl::functions::auth::SignIn {
        phone_number: phone,
        phone_code_hash: sent.phone_code_hash,
        phone_code: Some(code),
        email_verification: None,
    };
    assert_eq!(raw.call(&call).await.unwrap_err(), "401 SESSION_PASSWORD_NEEDED");
    let tl::enums::account::Password::Password(told) = raw.call(&tl::functions::account::GetPassword {}).await?;
    let Some(tl::enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow(algorithm)) = told.current_algo else {
        panic!("no password")
    };
    let (m1, a) = grammers_crypto::two_factor_auth::calculate_2fa(
        &algorithm.salt1,
        &algorithm.salt2,
        &algorithm.p,
        &algorithm.g,
        told.srp_b.expect("a challenge"),
        vec![7; 256],
        "low tide",
    );
    let password = tl::types::InputCheckPasswordSrp { srp_id: told.srp_id.expect("a challenge"), a: a.to_vec(), m1: m1.to_vec() };
    raw.call(&tl::functions::auth::CheckPassword { password: password.into() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_either_padding_belongs_to_nobody_until_it_signs_in() {
    let simulator = simulator().await;
    simulator.account_with(&newcomer()).expect("an account");
    for (padding, envelope) in [(Padding::Current, Envelope::Intermediate), (Padding::Older, Envelope::Full)] {
        let mut raw = Raw::connect(simulator.addr(), envelope).await;
        raw.exchange(&simulator, padding).await;
        assert_eq!(raw.call(&GET_STATE).await.unwrap_err(), "401 AUTH_KEY_UNREGISTERED");
        raw.call(&GET_CONFIG).await.expect("needs no sign-in");
        sign_in_whole(&mut raw, &simulator).await.expect("signs in");
        raw.call(&GET_STATE).await.expect("is signed in");
        raw.call(&tl::functions::auth::LogOut {}).await.expect("signs out");
        assert_eq!(raw.call(&GET_STATE).await.unwrap_err(), "401 AUTH_KEY_UNREGISTERED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_exchange_is_retried_and_fails_as_documented() {
    let simulator = simulator().await;
    simulator.retry_key_exchanges(1);
    let mut raw = Raw::connect(simulator.addr(), Envelope::Intermediate).await;
    let mut exchange = Exchange::begin(&mut raw, &simulator, Padding::Current, |data| data).await.expect("parameters");
    let answer = exchange.finish(&mut raw).await;
    let tl::enums::SetClientDhParamsAnswer::DhGenRetry(retry) = answer else { panic!("{answer:?}") };
    let hash = |raw: &Raw, exchange: &Exchange, number| {
        grammers_crypto::AuthKey::from_bytes(raw.key).calc_new_nonce_hash(&exchange.new_nonce, number)
    };
    assert_eq!(retry.new_nonce_hash2, hash(&raw, &exchange, 2));
    let answer = exchange.finish(&mut raw).await;
    assert!(matches!(answer, tl::enums::SetClientDhParamsAnswer::DhGenOk(_)), "{answer:?}");

    let mut exchange = Exchange::begin(&mut raw, &simulator, Padding::Current, |data| data).await.expect("parameters");
    exchange.g_b = Some(vec![1]);
    let answer = exchange.finish(&mut raw).await;
    assert!(matches!(answer, tl::enums::SetClientDhParamsAnswer::DhGenFail(_)), "{answer:?}");

    let elsewhere = |data: tl::enums::PQInnerData| {
        let tl::enums::PQInnerData::Data(data) = data else { panic!("another form") };
        let tl::types::PQInnerData { pq, p, q, nonce, server_nonce, new_nonce } = data;
        tl::types::PQInnerDataDc { pq, p, q, nonce, server_nonce, new_nonce, dc: 4 }.into()
    };
    assert_eq!(Exchange::begin(&mut raw, &simulator, Padding::Current, elsewhere).await.err(), Some(0), "server_DH_params_fail");

    let confused = |data: tl::enums::PQInnerData| {
        let tl::enums::PQInnerData::Data(data) = data else { panic!("another form") };
        tl::types::PQInnerData { nonce: [1; 16], ..data }.into()
    };
    assert_eq!(Exchange::begin(&mut raw, &simulator, Padding::Older, confused).await.err(), Some(-404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_key_speaks_for_the_one_it_is_bound_to() {
    use sha1::Digest;
    let simulator = simulator().await;
    let session = simulator.account("keeper").expect("an account");
    let permanent = raw::key_of(&session);
    let mut raw = Raw::connect(simulator.addr(), Envelope::Intermediate).await;
    let temporary = |data: tl::enums::PQInnerData| {
        let tl::enums::PQInnerData::Data(data) = data else { panic!("another form") };
        let tl::types::PQInnerData { pq, p, q, nonce, server_nonce, new_nonce } = data;
        tl::types::PQInnerDataTempDc { pq, p, q, nonce, server_nonce, new_nonce, dc: 2, expires_in: 600 }.into()
    };
    let mut exchange = Exchange::begin(&mut raw, &simulator, Padding::Current, temporary).await.expect("parameters");
    exchange.finish(&mut raw).await;
    assert_eq!(raw.call(&GET_STATE).await.unwrap_err(), "401 AUTH_KEY_PERM_EMPTY");

    let key_id = |key: &[u8; 256]| i64::from_le_bytes(sha1::Sha1::digest(key)[12..].try_into().expect("eight bytes"));
    let (perm_auth_key_id, nonce) = (key_id(&permanent), 5);
    let expires_at = (raw::id_now() >> 32) as i32 + 500;
    let inner = tl::types::BindAuthKeyInner {
        nonce,
        temp_auth_key_id: key_id(&raw.key),
        perm_auth_key_id,
        temp_session_id: raw.session,
        expires_at,
    };
    let id = raw.next_id();
    let plain = [[8; 16].to_vec(), raw::message(id, 0, &tl::enums::BindAuthKeyInner::Inner(inner).to_bytes())].concat();
    let encrypted_message = [perm_auth_key_id.to_le_bytes().to_vec(), encrypt_v1(&permanent, plain)].concat();
    let call = tl::functions::auth::BindTempAuthKey { perm_auth_key_id, nonce, expires_at, encrypted_message };
    let seq_no = raw.next_seq_no();
    raw.send_as(id, seq_no, &call.to_bytes()).await;
    raw.result(id).await.expect("is bound");
    raw.call(&GET_STATE).await.expect("speaks for the account");
}

/// MTProto 1.0: message key and encrypted part.
fn encrypt_v1(key: &[u8; 256], mut plain: Vec<u8>) -> Vec<u8> {
    use sha1::Digest;
    let sha1 = |parts: &[&[u8]]| sha1::Sha1::digest(parts.concat()).to_vec();
    let message_key = sha1(&[&plain])[4..20].to_vec();
    plain.resize(plain.len().next_multiple_of(16), 1);
    let a = sha1(&[&message_key, &key[..32]]);
    let b = sha1(&[&key[32..48], &message_key, &key[48..64]]);
    let c = sha1(&[&key[64..96], &message_key]);
    let d = sha1(&[&message_key, &key[96..128]]);
    let aes_key = [&a[..8], &b[8..20], &c[4..16]].concat().try_into().expect("32 bytes");
    let iv = [&a[8..20], &b[..8], &c[16..20], &d[..8]].concat().try_into().expect("32 bytes");
    grammers_crypto::aes::ige_encrypt(&mut plain, &aes_key, &iv);
    [message_key, plain].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_carries_calls_also_obfuscated() {
    let simulator = simulator().await;
    let key = raw::key_of(&simulator.account("keeper").expect("an account"));
    let envelopes = [Envelope::Full, Envelope::Intermediate, Envelope::Padded, Envelope::Abridged];
    for (envelope, obfuscated) in envelopes.into_iter().flat_map(|envelope| [(envelope, false), (envelope, true)]) {
        if obfuscated && envelope == Envelope::Full {
            continue;
        }
        let mut raw = match obfuscated {
            true => Raw::obfuscated(simulator.addr(), envelope).await,
            false => Raw::connect(simulator.addr(), envelope).await,
        };
        raw.key = key;
        for _ in 0..3 {
            raw.call(&GET_STATE).await.expect("answers");
        }
        let call = tl::functions::messages::GetDialogs {
            exclude_pinned: false,
            folder_id: None,
            offset_date: 0,
            offset_id: 0,
            offset_peer: tl::enums::InputPeer::Empty,
            limit: 100,
            hash: 0,
        };
        raw.call(&call).await.expect("a longer answer");
    }
    let mut raw = Raw::connect(simulator.addr(), Envelope::Padded).await;
    raw.exchange(&simulator, Padding::Current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_speaks_from_two_places_in_turn_is_dead() {
    let simulator = simulator().await;
    let session = simulator.account("keeper").expect("an account");
    let mut places = Vec::new();
    for last in [2, 3] {
        let mut raw = Raw::connect_from(last, simulator.addr()).await;
        raw.key = raw::key_of(&session);
        raw.call(&GET_STATE).await.expect("one move is no crime");
        places.push(raw);
    }
    assert_eq!(places[0].call(&GET_STATE).await.unwrap_err(), "406 AUTH_KEY_DUPLICATED");
    let listed: Vec<_> = simulator.violations().into_iter().map(|one| (one.account, one.offence)).collect();
    assert_eq!(listed, [("keeper".to_owned(), Offence::TwoPlaces)]);
    assert_eq!(places[1].call(&GET_STATE).await.unwrap_err(), "406 AUTH_KEY_DUPLICATED");
    assert_eq!(places[1].call(&GET_CONFIG).await.unwrap_err(), "406 AUTH_KEY_DUPLICATED");
    assert_eq!(simulator.account("keeper").expect("an account").user_id, None);
    let came = [2, 3].map(|last| (std::net::IpAddr::from([127, 0, 0, last]), 1));
    assert_eq!(simulator.connections(), came.into(), "each connection is counted where it came from");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_and_deactivated_accounts_are_told_so() {
    let simulator = simulator().await;
    let client = member(&simulator);
    client.invoke(&GET_STATE).await.expect("is signed in");
    for (why, name) in
        [(Ended::Unregistered, "AUTH_KEY_UNREGISTERED"), (Ended::Revoked, "SESSION_REVOKED"), (Ended::Expired, "SESSION_EXPIRED")]
    {
        assert_eq!(simulator.revoke("keeper", why).expect("an account"), 1);
        assert_eq!(refused(client.invoke(&GET_STATE).await), name);
        simulator.account_with(&AccountRequest { signed_in: Some(true), ..AccountRequest::named("keeper") }).expect("again");
        client.invoke(&GET_STATE).await.expect("is signed in again");
    }
    use telekeep_simulator::Standing;
    for (standing, name) in [(Standing::Deactivated, "USER_DEACTIVATED"), (Standing::Banned, "USER_DEACTIVATED_BAN")] {
        simulator.set_standing("keeper", standing).expect("an account");
        assert_eq!(refused(client.invoke(&GET_STATE).await), name);
    }
    simulator.set_standing("keeper", Standing::Active).expect("an account");
    client.invoke(&GET_STATE).await.expect("is active");
    assert!(simulator.revoke("nobody", Ended::Revoked).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn salts_change_and_the_right_one_is_told() {
    let simulator = simulator().await;
    simulator.set_salt_seconds(1);
    let mut raw = Raw::of(&simulator.account("keeper").expect("an account")).await;
    raw.call(&GET_STATE).await.expect("answers");
    let first = raw.salt;
    let tl::enums::FutureSalts::Salts(told) = {
        raw.send(&tl::functions::GetFutureSalts { num: 5 }.to_bytes()).await;
        raw.next(Received::is::<tl::types::FutureSalts>).await.read()
    };
    assert_eq!(told.salts.0.len(), 5);
    assert!(told.salts.0.is_sorted_by_key(|salt| salt.valid_since));
    // Until the first salt is refused, which takes up to three changes.
    while raw.salt == first {
        raw.call(&GET_STATE).await.expect("answers under any salt");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    simulator.set_salt_seconds(3600);
    member(&simulator).invoke(&GET_STATE).await.expect("a client copes");
}
