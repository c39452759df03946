//! Signing in, step by step, over raw calls, so that a login can wait for its code across a restart.

use std::fmt;

use base64::Engine;
use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};
use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};

use super::{Connection, Error, LoginRefusal, Phone, Result};

/// A code is under way: what is needed to use it. Serialisable; holds a phone number, so it is not shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct CodeSent {
    phone: String,
    phone_code_hash: String,
    /// Where the code went, in words for the operator.
    pub delivery: String,
}

impl fmt::Debug for CodeSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeSent").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// What a right code leads to.
#[derive(Debug)]
pub enum SignIn {
    Done(Box<tl::types::User>),
    /// Two-step verification: go on with [`Connection::check_password`].
    PasswordNeeded {
        hint: Option<String>,
    },
}

/// Where a login by QR code stands: <https://core.telegram.org/api/qr-login>
#[derive(Debug)]
pub enum QrStep {
    /// To be shown; changes each half minute.
    Scan {
        address: String,
    },
    PasswordNeeded {
        hint: Option<String>,
    },
    Done(Box<tl::types::User>),
}

impl Connection {
    /// Asks whether somebody has scanned the code, and for the code to show. Moves the session to the datacentre of who did.
    pub async fn qr_step(&self) -> Result<QrStep> {
        let config = self.config();
        let request = tl::functions::auth::ExportLoginToken {
            api_id: config.api_id,
            api_hash: config.api_hash.clone(),
            except_ids: Vec::new(),
        };
        let answer = match self.invoke(&request).await {
            Ok(tl::enums::auth::LoginToken::MigrateTo(elsewhere)) => {
                self.move_home(elsewhere.dc_id);
                self.invoke(&tl::functions::auth::ImportLoginToken { token: elsewhere.token }).await
            }
            answer => answer,
        };
        match answer {
            Ok(tl::enums::auth::LoginToken::Token(shown)) => {
                let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(shown.token);
                Ok(QrStep::Scan { address: format!("tg://login?token={token}") })
            }
            Ok(tl::enums::auth::LoginToken::Success(done)) => Ok(QrStep::Done(self.signed_in(done.authorization)?)),
            Ok(tl::enums::auth::LoginToken::MigrateTo(_)) => {
                Err(Error::Unexpected { method: "auth.importLoginToken", found: "auth.loginTokenMigrateTo" })
            }
            Err(Error::Login(LoginRefusal::PasswordNeeded)) => Ok(QrStep::PasswordNeeded { hint: self.password().await?.hint }),
            Err(error) => Err(error),
        }
    }

    /// Signs in as a bot. Moves the session to the bot's datacentre.
    pub async fn sign_in_bot(&self, token: &str) -> Result<Box<tl::types::User>> {
        let config = self.config();
        let request = tl::functions::auth::ImportBotAuthorization {
            flags: 0,
            api_id: config.api_id,
            api_hash: config.api_hash.clone(),
            bot_auth_token: token.trim().to_owned(),
        };
        let answer = match self.invoke(&request).await {
            Err(Error::Migrate { dc, .. }) => {
                self.move_home(dc);
                self.invoke(&request).await?
            }
            answer => answer?,
        };
        self.signed_in(answer)
    }

    /// Asks for another code, by the next way that Telegram has.
    pub async fn resend_code(&self, sent: &CodeSent) -> Result<CodeSent> {
        let request = tl::functions::auth::ResendCode {
            phone_number: sent.phone.clone(),
            phone_code_hash: sent.phone_code_hash.clone(),
            reason: None,
        };
        sent_code(&sent.phone, "auth.resendCode", self.invoke(&request).await?)
    }

    /// Begins again with the phone of a code that has expired.
    pub async fn send_code_again(&self, expired: &CodeSent) -> Result<CodeSent> {
        self.send_code(&expired.phone).await
    }

    /// Asks Telegram to send a code to this phone. Moves the session to the datacentre where the number belongs.
    pub async fn send_code(&self, phone: &str) -> Result<CodeSent> {
        let config = self.config();
        let request = tl::functions::auth::SendCode {
            phone_number: phone.to_owned(),
            api_id: config.api_id,
            api_hash: config.api_hash.clone(),
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
        let answer = match self.invoke(&request).await {
            Err(Error::Migrate { dc, .. }) => {
                self.move_home(dc);
                self.invoke(&request).await?
            }
            answer => answer?,
        };
        sent_code(phone, "auth.sendCode", answer)
    }

    /// Signs in with the code. A wrong code fails with [`LoginRefusal::CodeWrong`] and may be given again.
    pub async fn sign_in(&self, sent: &CodeSent, code: &str) -> Result<SignIn> {
        let request = tl::functions::auth::SignIn {
            phone_number: sent.phone.clone(),
            phone_code_hash: sent.phone_code_hash.clone(),
            phone_code: Some(code.trim().to_owned()),
            email_verification: None,
        };
        match self.invoke(&request).await {
            Ok(authorization) => Ok(SignIn::Done(self.signed_in(authorization)?)),
            Err(Error::Login(LoginRefusal::PasswordNeeded)) => Ok(SignIn::PasswordNeeded { hint: self.password().await?.hint }),
            Err(error) => Err(error),
        }
    }

    /// The second step, where the account has a password. It is never sent: <https://core.telegram.org/api/srp>.
    pub async fn check_password(&self, password: &str) -> Result<Box<tl::types::User>> {
        let asked = self.password().await?;
        let password = password.to_owned();
        let proof =
            tokio::task::spawn_blocking(move || proof_of(asked, &password)).await.map_err(|_| LoginRefusal::Unsupported)??;
        let request = tl::functions::auth::CheckPassword { password: proof };
        self.signed_in(self.invoke(&request).await?)
    }

    async fn password(&self) -> Result<tl::types::account::Password> {
        let tl::enums::account::Password::Password(asked) = self.invoke(&tl::functions::account::GetPassword {}).await?;
        Ok(asked)
    }

    fn signed_in(&self, authorization: tl::enums::auth::Authorization) -> Result<Box<tl::types::User>> {
        match authorization {
            tl::enums::auth::Authorization::Authorization(done) => match done.user {
                tl::enums::User::User(user) => {
                    self.signed_in_as(user.id, user.phone.clone().map(Phone));
                    Ok(Box::new(user))
                }
                tl::enums::User::Empty(_) => Err(Error::Unexpected { method: "auth.signIn", found: "userEmpty" }),
            },
            tl::enums::auth::Authorization::SignUpRequired(_) => Err(LoginRefusal::NoAccount.into()),
        }
    }
}

fn sent_code(phone: &str, method: &'static str, answer: tl::enums::auth::SentCode) -> Result<CodeSent> {
    match answer {
        tl::enums::auth::SentCode::Code(sent) => Ok(CodeSent {
            phone: phone.to_owned(),
            phone_code_hash: sent.phone_code_hash,
            delivery: delivery(&sent.r#type).to_owned(),
        }),
        tl::enums::auth::SentCode::Success(_) => Err(Error::Unexpected { method, found: "auth.sentCodeSuccess" }),
        tl::enums::auth::SentCode::PaymentRequired(_) => Err(LoginRefusal::Unsupported.into()),
    }
}

/// Proves the knowledge of the password. Takes a second or two of processor time.
fn proof_of(
    asked: tl::types::account::Password,
    password: &str,
) -> std::result::Result<tl::enums::InputCheckPasswordSrp, LoginRefusal> {
    use tl::enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow as Known;
    let (Some(Known(algorithm)), Some(srp_id), Some(g_b)) = (asked.current_algo, asked.srp_id, asked.srp_b) else {
        return Err(LoginRefusal::Unsupported);
    };
    // What grammers would panic on, or what would give the password away.
    let sound = (2..=7).contains(&algorithm.g) && g_b.len() <= 256 && check_p_and_g(&algorithm.p, &algorithm.g);
    if !sound {
        return Err(LoginRefusal::Unsupported);
    }
    // Our own secret: the server's secure_random would be known to it.
    let mut a = vec![0_u8; 256];
    rand::fill(&mut a[..]);
    let (m1, g_a) = calculate_2fa(&algorithm.salt1, &algorithm.salt2, &algorithm.p, &algorithm.g, g_b, a, password);
    Ok(tl::types::InputCheckPasswordSrp { srp_id, a: g_a.to_vec(), m1: m1.to_vec() }.into())
}

fn delivery(kind: &tl::enums::auth::SentCodeType) -> &'static str {
    use tl::enums::auth::SentCodeType;
    match kind {
        SentCodeType::App(_) => "a message in the Telegram app of this account",
        SentCodeType::Sms(_) | SentCodeType::FirebaseSms(_) => "an SMS",
        SentCodeType::SmsWord(_) | SentCodeType::SmsPhrase(_) => "an SMS with a word or phrase",
        SentCodeType::Call(_) => "a phone call that says the code",
        SentCodeType::FlashCall(_) => "a short call: the code is in the caller's number",
        SentCodeType::MissedCall(_) => "a missed call: the code is the last digits of its number",
        SentCodeType::EmailCode(_) => "an e-mail",
        SentCodeType::SetUpEmailRequired(_) => "nowhere yet: Telegram wants a login e-mail, set it in an official app",
        SentCodeType::FragmentSms(_) => "fragment.com, where this number lives",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_under_way_survives_a_restart_and_is_not_printed() {
        let sent = CodeSent { phone: "+9996621234".into(), phone_code_hash: "abc".into(), delivery: "an SMS".into() };
        let json = serde_json::to_string(&sent).unwrap();
        let kept: CodeSent = serde_json::from_str(&json).unwrap();
        assert_eq!((kept.phone.as_str(), kept.phone_code_hash.as_str()), ("+9996621234", "abc"));
        assert!(!format!("{sent:?}").contains("999"));
    }
}
