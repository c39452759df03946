//! Signing in by code and 2FA password, and out.

use grammers_tl_types as tl;
use rand::RngExt;

use super::{Caller, Failure};
use crate::account::{digits, hex};
use crate::srp::{Challenge, G, Verifier, prime};

const CODE_SECONDS: i32 = 120;

/// Where an account stands between `auth.sendCode` and being signed in.
#[derive(Debug, Default)]
pub(crate) struct Login {
    code: Option<Code>,
    /// The code was right, the password is still to come.
    password_wanted: bool,
    /// Of the password that the account had when this was derived.
    verifier: Option<(String, Verifier)>,
    challenge: Option<Challenge>,
}

#[derive(Debug)]
struct Code {
    digits: String,
    hash: String,
}

impl Login {
    /// The code that was sent last.
    pub(crate) fn code(&self) -> Option<String> {
        self.code.as_ref().map(|code| code.digits.clone())
    }
}

impl Caller<'_> {
    pub(super) fn send_code(&self, call: tl::functions::auth::SendCode) -> Result<tl::enums::auth::SentCode, Failure> {
        if call.api_id <= 0 || call.api_hash.is_empty() {
            return Err(Failure::bad("API_ID_INVALID"));
        }
        self.own_phone(&call.phone_number)?;
        let code = format!("{:05}", rand::rng().random_range(0..100_000_u32));
        let hash = hex(&rand::rng().random::<[u8; 9]>());
        let length = code.len() as i32;
        self.login(|login| {
            login.code = Some(Code { digits: code, hash: hash.clone() });
            login.password_wanted = false;
        });
        Ok(tl::types::auth::SentCode {
            r#type: tl::types::auth::SentCodeTypeApp { length }.into(),
            phone_code_hash: hash,
            next_type: None,
            timeout: Some(CODE_SECONDS),
        }
        .into())
    }

    pub(super) fn sign_in(&self, call: tl::functions::auth::SignIn) -> Result<tl::enums::auth::Authorization, Failure> {
        self.own_phone(&call.phone_number)?;
        let told = call.phone_code.unwrap_or_default();
        if told.is_empty() {
            return Err(Failure::bad("PHONE_CODE_EMPTY"));
        }
        let has_password = self.account.password.is_some();
        self.login(|login| {
            let code = login.code.as_ref().filter(|code| code.hash == call.phone_code_hash);
            let code = code.ok_or_else(|| Failure::bad("PHONE_CODE_EXPIRED"))?;
            if code.digits != told {
                return Err(Failure::bad("PHONE_CODE_INVALID"));
            }
            login.code = None;
            login.password_wanted = has_password;
            Ok(())
        })?;
        if has_password {
            return Err(Failure::new(401, "SESSION_PASSWORD_NEEDED"));
        }
        self.authorized()
    }

    pub(super) fn password(&self) -> tl::enums::account::Password {
        let challenge = self.account.password.as_deref().map(|password| {
            self.login(|login| {
                if login.verifier.as_ref().is_none_or(|(of, _)| of != password) {
                    login.verifier = Some((password.to_owned(), Verifier::new(password)));
                }
                let verifier = login.verifier.as_ref().map(|(_, verifier)| verifier.clone());
                login.challenge = verifier.as_ref().map(Verifier::challenge);
                (verifier, login.challenge.clone())
            })
        });
        let (verifier, challenge) = challenge.unwrap_or_default();
        tl::types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: self.account.password.is_some(),
            current_algo: verifier.map(|verifier| algorithm(verifier.salt1, verifier.salt2)),
            srp_b: challenge.as_ref().map(|challenge| challenge.public.to_vec()),
            srp_id: challenge.map(|challenge| challenge.id),
            hint: None,
            email_unconfirmed_pattern: None,
            new_algo: algorithm(vec![0; 8], vec![0; 16]),
            new_secure_algo: tl::enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: rand::rng().random::<[u8; 32]>().to_vec(),
            pending_reset_date: None,
            login_email_pattern: None,
        }
        .into()
    }

    pub(super) fn check_password(
        &self,
        call: tl::functions::auth::CheckPassword,
    ) -> Result<tl::enums::auth::Authorization, Failure> {
        let tl::enums::InputCheckPasswordSrp::Srp(proof) = call.password else {
            return Err(Failure::bad("PASSWORD_HASH_INVALID"));
        };
        self.login(|login| {
            if !login.password_wanted {
                return Err(Failure::new(401, "AUTH_KEY_UNREGISTERED"));
            }
            let challenge = login.challenge.take().filter(|challenge| challenge.id == proof.srp_id);
            let challenge = challenge.ok_or_else(|| Failure::bad("SRP_ID_INVALID"))?;
            let proved = login.verifier.as_ref().is_some_and(|(_, verifier)| verifier.accepts(&challenge, &proof.a, &proof.m1));
            if !proved {
                return Err(Failure::bad("PASSWORD_HASH_INVALID"));
            }
            login.password_wanted = false;
            Ok(())
        })?;
        self.authorized()
    }

    pub(super) fn log_out(&self) -> Result<tl::enums::auth::LoggedOut, Failure> {
        self.set_signed_in(false)?;
        Ok(tl::types::auth::LoggedOut { future_auth_token: None }.into())
    }

    fn authorized(&self) -> Result<tl::enums::auth::Authorization, Failure> {
        self.set_signed_in(true)?;
        Ok(tl::types::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user: self.me(),
        }
        .into())
    }

    fn set_signed_in(&self, signed_in: bool) -> Result<(), Failure> {
        self.datacentre.accounts.set_signed_in(&self.account.name, signed_in).map_err(|error| {
            tracing::error!(error = %error, "the state directory cannot be written");
            Failure::new(500, "INTERNAL_SERVER_ERROR")
        })
    }

    /// A key belongs to one account; it can sign in as no other.
    fn own_phone(&self, phone: &str) -> Result<(), Failure> {
        if digits(phone) == self.account.phone {
            return Ok(());
        }
        Err(Failure::bad("PHONE_NUMBER_INVALID"))
    }

    fn login<R>(&self, work: impl FnOnce(&mut Login) -> R) -> R {
        self.datacentre.login(&self.account.name, work)
    }
}

fn algorithm(salt1: Vec<u8>, salt2: Vec<u8>) -> tl::enums::PasswordKdfAlgo {
    tl::types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow { salt1, salt2, g: G, p: prime().to_vec() }.into()
}
