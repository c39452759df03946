//! Signing in by code and 2FA password or by a bot's token, and out (<https://core.telegram.org/api/auth>).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use grammers_tl_types as tl;
use rand::RngExt;

use super::authorization::Exported;
use super::login_token::Token;
use super::{Caller, Failure};
use crate::account::authorization::Ended;
use crate::account::store::StateError;
use crate::account::{Account, Standing, digits, hex};
use crate::clock;
use crate::srp::{Challenge, G, Verifier, prime};
use crate::wire::message::Outgoing;
use crate::world::DC_ID;

/// After this a client may ask for the code in another way.
const RESEND_SECONDS: i32 = 120;
const CODE_SECONDS: i32 = 300;
/// A call, after the app and an SMS.
const LAST_WAY: u8 = 2;
/// Codes and tokens of sign-ins that were never finished are forgotten beyond this number.
const UNFINISHED: usize = 10_000;

/// All sign-ins under way.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<Unfinished>);

#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// By phone.
    codes: HashMap<String, Code>,
    /// Keys whose code was right and whose password is still to come, and the account that it is of.
    passwords: HashMap<i64, String>,
    /// By key.
    challenges: HashMap<i64, Challenge>,
    /// By account, of the password that it had when this was derived.
    verifiers: HashMap<String, (String, Verifier)>,
    pub(super) tokens: Vec<Token>,
    pub(super) exported: Vec<Exported>,
}

#[derive(Debug)]
struct Code {
    digits: String,
    hash: String,
    /// Unix time.
    made: i32,
    /// In which way it was sent: 0 the app, 1 an SMS, 2 a call.
    way: u8,
}

impl Logins {
    /// The code that was sent last to a phone.
    pub(crate) fn code(&self, phone: &str) -> Option<String> {
        self.unfinished().codes.get(phone).map(|code| code.digits.clone())
    }

    /// All codes that were sent are too old from now on.
    pub(crate) fn expire_codes(&self) {
        self.unfinished().codes.values_mut().for_each(|code| code.made = 0);
    }

    pub(super) fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Unfinished {
    /// The code that a client names by its hash.
    fn code(&mut self, phone: &str, hash: &str) -> Result<&mut Code, Failure> {
        let now = clock::unix_now();
        let code = self.codes.get_mut(phone).filter(|code| code.hash == hash && code.made + CODE_SECONDS >= now);
        code.ok_or_else(|| Failure::bad("PHONE_CODE_EXPIRED"))
    }

    /// The key will sign in once its password is right.
    pub(super) fn wants_password(&mut self, key: i64, account: &str) -> Failure {
        if self.passwords.len() >= UNFINISHED {
            self.passwords.clear();
        }
        self.passwords.insert(key, account.to_owned());
        Failure::new(401, "SESSION_PASSWORD_NEEDED")
    }
}

impl Caller<'_> {
    pub(super) fn send_code(&self, call: tl::functions::auth::SendCode) -> Result<tl::enums::auth::SentCode, Failure> {
        check_api(call.api_id, &call.api_hash)?;
        let phone = digits(&call.phone_number);
        if !(7..=15).contains(&phone.len()) {
            return Err(Failure::bad("PHONE_NUMBER_INVALID"));
        }
        match self.datacentre.accounts.by_phone(&phone) {
            Some(account) if account.standing == Standing::Banned => return Err(Failure::bad("PHONE_NUMBER_BANNED")),
            Some(account) if account.dc != self.origin.dc => return Err(Failure::elsewhere("PHONE", account.dc)),
            // Who is nowhere at home yet belongs where `help.getNearestDc` sends everyone.
            None if self.origin.dc != DC_ID && self.datacentre.addresses.contains_key(&DC_ID) => {
                return Err(Failure::elsewhere("NETWORK", DC_ID));
            }
            Some(_) | None => {}
        }
        let code = Code {
            digits: format!("{:05}", rand::rng().random_range(0..100_000_u32)),
            hash: hex(&rand::rng().random::<[u8; 9]>()),
            made: clock::unix_now(),
            way: 0,
        };
        let sent = sent_code(&code);
        let mut unfinished = self.unfinished();
        if unfinished.codes.len() >= UNFINISHED {
            unfinished.codes.clear();
        }
        unfinished.codes.insert(phone, code);
        Ok(sent)
    }

    pub(super) fn resend_code(&self, call: tl::functions::auth::ResendCode) -> Result<tl::enums::auth::SentCode, Failure> {
        let mut unfinished = self.unfinished();
        let code = unfinished.code(&digits(&call.phone_number), &call.phone_code_hash)?;
        if code.way == LAST_WAY {
            return Err(Failure::new(406, "SEND_CODE_UNAVAILABLE"));
        }
        code.way += 1;
        Ok(sent_code(code))
    }

    pub(super) fn cancel_code(&self, call: tl::functions::auth::CancelCode) -> Result<bool, Failure> {
        let (phone, mut unfinished) = (digits(&call.phone_number), self.unfinished());
        unfinished.code(&phone, &call.phone_code_hash)?;
        unfinished.codes.remove(&phone);
        Ok(true)
    }

    pub(super) fn sign_in(&self, call: tl::functions::auth::SignIn) -> Result<tl::enums::auth::Authorization, Failure> {
        let phone = digits(&call.phone_number);
        let told = call.phone_code.unwrap_or_default();
        if told.is_empty() {
            return Err(Failure::bad("PHONE_CODE_EMPTY"));
        }
        {
            let mut unfinished = self.unfinished();
            if unfinished.code(&phone, &call.phone_code_hash)?.digits != told {
                return Err(Failure::bad("PHONE_CODE_INVALID"));
            }
            unfinished.codes.remove(&phone);
        }
        match self.datacentre.accounts.by_phone(&phone) {
            Some(account) => self.admit(account),
            // Only the official clients may sign up.
            None => Ok(tl::types::auth::AuthorizationSignUpRequired { terms_of_service: None }.into()),
        }
    }

    pub(super) fn password(&self) -> Result<tl::enums::account::Password, Failure> {
        let account = self.account_of_password()?;
        let challenge = account.password.as_deref().map(|password| {
            let mut unfinished = self.unfinished();
            let known = unfinished.verifiers.get(&account.name).filter(|(of, _)| of == password);
            let verifier = known.map_or_else(|| Verifier::new(password), |(_, verifier)| verifier.clone());
            let challenge = verifier.challenge();
            unfinished.verifiers.insert(account.name.clone(), (password.to_owned(), verifier.clone()));
            if unfinished.challenges.len() >= UNFINISHED {
                unfinished.challenges.clear();
            }
            unfinished.challenges.insert(self.key_id(), challenge.clone());
            (verifier, challenge)
        });
        let (verifier, challenge) = challenge.unzip();
        Ok(tl::types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: account.password.is_some(),
            current_algo: verifier.map(|verifier| algorithm(verifier.salt1, verifier.salt2)),
            srp_b: challenge.as_ref().map(|challenge| challenge.public.to_vec()),
            srp_id: challenge.map(|challenge| challenge.id),
            hint: account.password_hint.clone(),
            email_unconfirmed_pattern: None,
            new_algo: algorithm(vec![0; 8], vec![0; 16]),
            new_secure_algo: tl::enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: rand::rng().random::<[u8; 32]>().to_vec(),
            pending_reset_date: None,
            login_email_pattern: None,
        }
        .into())
    }

    pub(super) fn check_password(
        &self,
        call: tl::functions::auth::CheckPassword,
    ) -> Result<tl::enums::auth::Authorization, Failure> {
        let tl::enums::InputCheckPasswordSrp::Srp(proof) = call.password else {
            return Err(Failure::bad("PASSWORD_HASH_INVALID"));
        };
        let account = self.account_of_password()?;
        {
            let mut unfinished = self.unfinished();
            let challenge = unfinished.challenges.remove(&self.key_id()).filter(|challenge| challenge.id == proof.srp_id);
            let challenge = challenge.ok_or_else(|| Failure::bad("SRP_ID_INVALID"))?;
            let verifier = unfinished.verifiers.get(&account.name);
            if !verifier.is_some_and(|(_, verifier)| verifier.accepts(&challenge, &proof.a, &proof.m1)) {
                return Err(Failure::bad("PASSWORD_HASH_INVALID"));
            }
            unfinished.passwords.remove(&self.key_id());
        }
        self.authorized(account)
    }

    pub(super) fn bot(&self, call: tl::functions::auth::ImportBotAuthorization) -> Result<tl::enums::auth::Authorization, Failure> {
        check_api(call.api_id, &call.api_hash)?;
        let bot = self.datacentre.accounts.by_bot_token(&call.bot_auth_token);
        let bot = bot.ok_or_else(|| Failure::bad("ACCESS_TOKEN_INVALID"))?;
        if bot.dc != self.origin.dc {
            return Err(Failure::elsewhere("USER", bot.dc));
        }
        self.authorized(bot)
    }

    pub(super) fn log_out(&self) -> Result<tl::enums::auth::LoggedOut, Failure> {
        kept(self.datacentre.accounts.change_key(self.key_id(), |key| key.sign_out(Ended::Unregistered)))?;
        Ok(tl::types::auth::LoggedOut { future_auth_token: None }.into())
    }

    /// Signs the account in, unless its password has to be told first.
    pub(super) fn admit(&self, account: Arc<Account>) -> Result<tl::enums::auth::Authorization, Failure> {
        if account.password.is_some() {
            return Err(self.unfinished().wants_password(self.key_id(), &account.name));
        }
        self.authorized(account)
    }

    /// From now on the caller's key is the account's.
    pub(super) fn authorized(&self, account: Arc<Account>) -> Result<tl::enums::auth::Authorization, Failure> {
        match account.standing {
            Standing::Active => {}
            Standing::Deactivated => return Err(Failure::new(401, "USER_DEACTIVATED")),
            Standing::Banned => return Err(Failure::new(401, "USER_DEACTIVATED_BAN")),
        }
        let now = clock::unix_now();
        kept(self.datacentre.accounts.change_key(self.key_id(), |key| key.sign_in(&account.name, now)))?;
        self.tell_of_authorization(&account);
        let user = Caller { datacentre: self.datacentre, account, origin: self.origin.clone() }.me();
        Ok(tl::types::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user,
        }
        .into())
    }

    /// The account's other sessions learn of the new one (<https://core.telegram.org/constructor/updateNewAuthorization>).
    fn tell_of_authorization(&self, account: &Account) {
        if account.dc != self.origin.dc {
            return;
        }
        let key = &self.origin.key;
        let update = tl::types::UpdateNewAuthorization {
            unconfirmed: false,
            hash: key.hash,
            date: Some(clock::unix_now()),
            device: Some(key.device.model.clone()),
            location: Some(key.address.clone()),
        };
        let update = tl::types::UpdateShort { update: update.into(), date: clock::unix_now() };
        let update = tl::enums::Updates::UpdateShort(update);
        let sessions = self.datacentre.update_sessions(&account.name);
        for session in sessions.iter().filter(|session| session.key.id() != self.origin.session.key.id()) {
            session.send(None, Outgoing::notice(&update));
        }
    }

    /// The account that the key is signed in with, or that its password is awaited of.
    fn account_of_password(&self) -> Result<Arc<Account>, Failure> {
        let waiting = self.unfinished().passwords.get(&self.key_id()).cloned();
        let account = match waiting {
            Some(name) => self.datacentre.accounts.by_name(&name),
            None => self.datacentre.accounts.account_of(&self.origin.key),
        };
        account.ok_or_else(|| Failure::new(401, "AUTH_KEY_UNREGISTERED"))
    }

    pub(super) fn key_id(&self) -> i64 {
        self.origin.key.key.id()
    }

    pub(super) fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.datacentre.logins.unfinished()
    }
}

/// The api_id and api_hash that an application was given.
pub(super) fn check_api(id: i32, hash: &str) -> Result<(), Failure> {
    if id <= 0 || hash.is_empty() { Err(Failure::bad("API_ID_INVALID")) } else { Ok(()) }
}

/// What is not kept did not happen.
pub(super) fn kept<T>(result: Result<T, StateError>) -> Result<T, Failure> {
    result.map_err(|error| {
        tracing::error!(error = %error, "the state directory cannot be written");
        Failure::new(500, "INTERNAL_SERVER_ERROR")
    })
}

fn sent_code(code: &Code) -> tl::enums::auth::SentCode {
    let length = code.digits.len() as i32;
    let r#type = match code.way {
        0 => tl::types::auth::SentCodeTypeApp { length }.into(),
        1 => tl::types::auth::SentCodeTypeSms { length }.into(),
        _ => tl::types::auth::SentCodeTypeCall { length }.into(),
    };
    let next_type = match code.way {
        0 => Some(tl::enums::auth::CodeType::Sms),
        1 => Some(tl::enums::auth::CodeType::Call),
        _ => None,
    };
    tl::types::auth::SentCode { r#type, phone_code_hash: code.hash.clone(), next_type, timeout: Some(RESEND_SECONDS) }.into()
}

fn algorithm(salt1: Vec<u8>, salt2: Vec<u8>) -> tl::enums::PasswordKdfAlgo {
    tl::types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow { salt1, salt2, g: G, p: prime().to_vec() }.into()
}
