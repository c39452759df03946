//! Several datacentres: who is at home where, and how an authorization gets elsewhere.

use telekeep_simulator::AccountRequest;

use super::raw::{Envelope, Padding, Raw};
use super::*;

const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

async fn datacentres(count: u8) -> Simulator {
    Simulator::start(world(), Options { datacentres: count, ..Options::default() }).await.expect("starts")
}

fn get_photo(offset: i64) -> tl::functions::upload::GetFile {
    tl::functions::upload::GetFile {
        precise: false,
        cdn_supported: false,
        location: tl::types::InputPhotoFileLocation {
            id: 1,
            access_hash: 1,
            file_reference: Vec::new(),
            thumb_size: "y".to_owned(),
        }
        .into(),
        offset,
        limit: 4096,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_lists_them_all_and_a_key_is_known_in_one() {
    let simulator = datacentres(5).await;
    let session = simulator.account("keeper").expect("an account");
    let mut raw = Raw::of(&session).await;
    let tl::enums::Config::Config(config) = raw.call(&tl::functions::help::GetConfig {}).await.expect("answers");
    let told: Vec<_> = config.dc_options.iter().map(|tl::enums::DcOption::Option(dc)| (dc.id, dc.port)).collect();
    let there: Vec<_> = simulator.addresses().iter().map(|(id, address)| (*id, i32::from(address.port()))).collect();
    assert_eq!((config.this_dc, told), (2, there));
    assert_eq!(simulator.addresses().len(), 5);

    let mut elsewhere = Raw::connect(simulator.addresses()[&4], Envelope::Intermediate).await;
    elsewhere.key = raw.key;
    elsewhere.send(&[0; 8]).await;
    assert_eq!(elsewhere.transport_error().await, Some(-404));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_signs_in_at_home_only() {
    let simulator = datacentres(4).await;
    let request = AccountRequest {
        dc: Some(4),
        phone: Some("9996612345".to_owned()),
        bot_token: None,
        signed_in: Some(false),
        ..AccountRequest::named("islander")
    };
    let session = simulator.account_with(&request).expect("an account");
    assert_eq!((session.dc, i32::from(session.port)), (4, i32::from(simulator.addresses()[&4].port())));
    let bot = AccountRequest { dc: Some(4), bot_token: Some("1:a".to_owned()), ..AccountRequest::named("bot") };
    simulator.account_with(&bot).expect("an account");

    let mut raw = Raw::connect(simulator.addr(), Envelope::Intermediate).await;
    raw.exchange(&simulator, Padding::Current).await;
    let call = tl::functions::auth::ImportBotAuthorization {
        flags: 0,
        api_id: 1,
        api_hash: "hash".to_owned(),
        bot_auth_token: "1:a".to_owned(),
    };
    assert_eq!(raw.call(&call).await.unwrap_err(), "303 USER_MIGRATE_4");

    let mut newcomer = Raw::connect(simulator.addresses()[&3], Envelope::Intermediate).await;
    newcomer.exchange(&simulator, Padding::Older).await;
    for (phone, told) in [("9996612345", "303 PHONE_MIGRATE_4"), ("99966777777", "303 NETWORK_MIGRATE_2")] {
        assert_eq!(sign_in::send_code(&mut newcomer, phone).await.unwrap_err(), told);
    }

    // grammers follows PHONE_MIGRATE to the address of the configuration; its key there was shared.
    let (home, first) = (session, simulator.account("keeper").expect("an account"));
    let stranger = AccountRequest { signed_in: Some(false), ..AccountRequest::named("keeper") };
    simulator.account_with(&stranger).expect("signed out");
    let client = client_in(&first, &[&first, &home]);
    let token = client.request_login_code("+9996612345", "hash").await.expect("a code from the other datacentre");
    client.sign_in(&token, &simulator.code("9996612345").expect("was sent")).await.expect("signs in");
    client.invoke(&GET_STATE).await.expect("is at home");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_authorization_is_good_for_files_and_ends_with_its_origin() {
    let simulator = datacentres(2).await;
    let mut home = Raw::of(&simulator.account("keeper").expect("an account")).await;
    let mut away = Raw::of(&simulator.account_abroad("keeper", 1).expect("a key")).await;
    assert_eq!(away.call(&get_photo(0)).await.unwrap_err(), "401 AUTH_KEY_UNREGISTERED");
    let export = |dc_id| tl::functions::auth::ExportAuthorization { dc_id };
    for dc in [2, 5] {
        assert_eq!(home.call(&export(dc)).await.unwrap_err(), "400 DC_ID_INVALID");
    }
    let tl::enums::auth::ExportedAuthorization::Authorization(exported) = home.call(&export(1)).await.expect("exports");
    let import = |bytes: &[u8]| tl::functions::auth::ImportAuthorization { id: exported.id, bytes: bytes.to_vec() };
    assert_eq!(away.call(&import(b"another")).await.unwrap_err(), "400 AUTH_BYTES_INVALID");
    away.call(&import(&exported.bytes)).await.expect("imports");
    assert_eq!(away.call(&import(&exported.bytes)).await.unwrap_err(), "400 AUTH_BYTES_INVALID");
    assert_eq!(away.call(&GET_STATE).await.unwrap_err(), "303 USER_MIGRATE_2");
    assert_eq!(away.call(&get_photo(0)).await.unwrap_err(), "303 FILE_MIGRATE_2");

    let call = tl::functions::account::GetAuthorizations {};
    let tl::enums::account::Authorizations::Authorizations(listed) = home.call(&call).await.expect("a list");
    assert_eq!(listed.authorizations.len(), 1);
    home.call(&tl::functions::auth::LogOut {}).await.expect("signs out");
    assert_eq!(away.call(&get_photo(0)).await.unwrap_err(), "401 AUTH_KEY_UNREGISTERED");
}
