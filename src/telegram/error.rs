//! Every way a call to Telegram can fail, typed, so that callers branch on it. Telegram's names are mapped in one place.

use std::time::Duration;

use grammers_mtproto::transport;
use grammers_mtsender::{InvocationError, RpcError};

/// A failed call. `method` is Telegram's own name, as `messages.getHistory`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FLOOD_WAIT, FLOOD_PREMIUM_WAIT: the method rests this long for this account.
    #[error("Telegram asks to wait {} s before {method}", wait.as_secs())]
    Flood { method: String, wait: Duration },
    /// Our own limit, so that Telegram need not set one: nothing was called.
    #[error("{method} may be called again in {} s: this account's budget of it is spent", wait.as_secs())]
    OverBudget { method: String, wait: Duration },
    /// SLOWMODE_WAIT: this chat rests this long for this account.
    #[error("slow mode: Telegram asks to wait {} s before {method}", wait.as_secs())]
    SlowMode { method: String, wait: Duration },
    /// TAKEOUT_INIT_DELAY: the account's owner must wait, or allow the takeout in an official app.
    #[error("Telegram starts this takeout in {} s at the earliest", wait.as_secs())]
    TakeoutDelay { method: String, wait: Duration },
    /// The account did too much of one thing; Telegram names no time.
    #[error("Telegram limits this account for a time it does not name (PEER_FLOOD in {method})")]
    PeerFlood { method: String },
    /// The authorisation is gone for good: it must be made anew.
    #[error("the account's authorisation is lost ({name})")]
    AccountLost { name: String },
    /// Two processes used one session at a time.
    #[error("the session was used in two places at once (AUTH_KEY_DUPLICATED)")]
    KeyDuplicated,
    /// The home datacentre does not know the key; a new one is not made in its place.
    #[error("the home datacentre does not know this session's key")]
    KeyRefused,
    /// Worth trying again later: network, time limit, Telegram's own trouble.
    #[error("{method} failed for now")]
    Transient { method: String, source: Cause },
    /// Nothing left this process: the account is held by another node, or nobody can say that it is not.
    #[error("nothing was sent: {why} ({method})")]
    NotOurs { method: String, why: String },
    /// The file reference is too old: read the owning message again for a fresh one.
    #[error("the file reference in {method} has expired")]
    FileReferenceExpired { method: String },
    /// A part of a file came damaged again and again: shorter than the file is, or other than Telegram's own hashes say.
    #[error("the file's bytes from {offset} on came damaged {times} times: {what}")]
    Damaged { offset: u64, times: u32, what: &'static str },
    /// Telegram has no such file any more, or not where it was said to be.
    #[error("Telegram does not give this file ({name} in {method})")]
    NoFile { method: String, name: String },
    /// This account cannot see what was asked for; another one may.
    #[error("not accessible for this account ({name} in {method})")]
    Inaccessible { method: String, name: String },
    /// Telegram does not know the position of updates that was asked from.
    #[error("Telegram no longer knows where these updates stood ({method})")]
    PositionLost { method: String },
    /// The call belongs to another datacentre.
    #[error("{method} belongs to datacentre {dc} ({name})")]
    Migrate { method: String, name: String, dc: i32 },
    /// Telegram refused a step of a login.
    #[error(transparent)]
    Login(#[from] LoginRefusal),
    /// The session knows no address for this datacentre.
    #[error("the session knows no address of its home datacentre")]
    UnknownDatacentre,
    /// The answer is not in the schema that this build knows. The bytes are kept for who stores them.
    #[error("the answer of {method} could not be decoded ({} bytes)", bytes.len())]
    Undecodable { method: String, source: grammers_tl_types::deserialize::Error, bytes: Vec<u8> },
    /// An answer of a kind that this method must not give.
    #[error("{method} gave an answer of an unexpected kind: {found}")]
    Unexpected { method: &'static str, found: &'static str },
    /// A name that is not in the table: someone must look.
    #[error("{method} failed with {name} (code {code}), which is not known here")]
    UnknownRpc { method: String, code: i32, name: String },
}

/// What was behind a failure that may pass.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("Telegram's own trouble: {name} (code {code})")]
    Server { code: i32, name: String },
    /// The connection or its pool ended before the answer came.
    #[error("the connection failed")]
    Connection(#[source] InvocationError),
    #[error("there is no way to Telegram: {0}")]
    NoRoute(String),
    /// None of the account's proxies works.
    #[error("{0}")]
    NoProxy(String),
    #[error("the connection was closed by this process")]
    Closed,
}

/// Why a login did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    #[error("the code is not right")]
    CodeWrong,
    #[error("the code has expired: ask for a new one")]
    CodeExpired,
    #[error("the account has a password (two-step verification)")]
    PasswordNeeded,
    #[error("the password is not right")]
    PasswordWrong,
    #[error("Telegram does not accept this phone number: give it in international form, as +4915112345678")]
    PhoneInvalid,
    #[error("Telegram has banned this phone number")]
    PhoneBanned,
    #[error("this number has no Telegram account: create it in an official app first")]
    NoAccount,
    #[error("api_id and api_hash do not belong together or are not known: get yours at https://my.telegram.org")]
    ApiIdInvalid,
    #[error("Telegram does not know this bot token: ask @BotFather for the right one")]
    TokenInvalid,
    #[error("Telegram has no other way to send the code: wait for it, or begin anew later")]
    NoOtherWay,
    #[error("Telegram asks for a way of login that is not supported here (payment, e-mail or an unknown password method)")]
    Unsupported,
}

impl Error {
    /// How long is to be waited, where a time is known.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Flood { wait, .. }
            | Self::OverBudget { wait, .. }
            | Self::SlowMode { wait, .. }
            | Self::TakeoutDelay { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    pub(super) fn transient(method: &str, source: Cause) -> Self {
        Self::Transient { method: method.to_owned(), source }
    }

    /// Maps what grammers reports. `had_key`: the session had a home key before the call, so that a failed handshake means that the
    /// server refused that key.
    pub(super) fn from_invocation(method: &str, error: InvocationError, had_key: bool) -> Self {
        match error {
            InvocationError::Rpc(rpc) => Self::from_rpc(method, rpc),
            InvocationError::Session(_) => Self::KeyRefused,
            InvocationError::Transport(transport::Error::BadStatus { status: 404 }) => Self::KeyRefused,
            InvocationError::Authentication(_) if had_key => Self::KeyRefused,
            InvocationError::InvalidDc => Self::UnknownDatacentre,
            InvocationError::Authentication(_)
            | InvocationError::Transport(_)
            | InvocationError::Io(_)
            | InvocationError::Deserialize(_)
            | InvocationError::Dropped(_) => Self::transient(method, Cause::Connection(error)),
        }
    }

    /// Maps Telegram's own names: the table of errors, in its order. grammers has taken the number out of the name.
    /// Names: <https://core.telegram.org/api/errors> and the pages of the methods.
    pub(super) fn from_rpc(method: &str, rpc: RpcError) -> Self {
        let RpcError { code, name, value, .. } = rpc;
        let method = method.to_owned();
        let wait = Duration::from_secs(value.unwrap_or(0).into());
        match name.as_str() {
            "FLOOD_WAIT" | "FLOOD_PREMIUM_WAIT" | "FLOOD_TEST_PHONE_WAIT" => Self::Flood { method, wait },
            "SLOWMODE_WAIT" => Self::SlowMode { method, wait },
            "TAKEOUT_INIT_DELAY" => Self::TakeoutDelay { method, wait },

            "AUTH_KEY_UNREGISTERED"
            | "AUTH_KEY_INVALID"
            | "SESSION_REVOKED"
            | "SESSION_EXPIRED"
            | "USER_DEACTIVATED"
            | "USER_DEACTIVATED_BAN" => Self::AccountLost { name },
            "AUTH_KEY_DUPLICATED" => Self::KeyDuplicated,
            "PEER_FLOOD" => Self::PeerFlood { method },

            "FILE_REFERENCE_EXPIRED" | "FILE_REFERENCE_INVALID" | "FILE_REFERENCE_EMPTY" => Self::FileReferenceExpired { method },

            "LOCATION_INVALID" | "LOCATION_NOT_AVAILABLE" | "FILE_ID_INVALID" | "PHOTO_INVALID" => Self::NoFile { method, name },

            "CHANNEL_PRIVATE"
            | "CHANNEL_INVALID"
            | "CHANNEL_PUBLIC_GROUP_NA"
            | "CHAT_ADMIN_REQUIRED"
            | "CHAT_FORBIDDEN"
            | "CHAT_RESTRICTED"
            | "CHAT_ID_INVALID"
            | "PEER_ID_INVALID"
            | "USER_ID_INVALID"
            | "USERNAME_NOT_OCCUPIED"
            | "USERNAME_INVALID"
            | "USER_BANNED_IN_CHANNEL"
            | "USER_NOT_PARTICIPANT"
            | "INPUT_USER_DEACTIVATED"
            | "INVITE_HASH_EXPIRED"
            | "INVITE_HASH_INVALID" => Self::Inaccessible { method, name },

            "PERSISTENT_TIMESTAMP_INVALID" | "PERSISTENT_TIMESTAMP_EMPTY" => Self::PositionLost { method },

            "SESSION_PASSWORD_NEEDED" => LoginRefusal::PasswordNeeded.into(),
            "PHONE_CODE_INVALID" | "PHONE_CODE_EMPTY" | "CODE_INVALID" => LoginRefusal::CodeWrong.into(),
            "PHONE_CODE_EXPIRED" | "PHONE_CODE_HASH_EMPTY" => LoginRefusal::CodeExpired.into(),
            "PASSWORD_HASH_INVALID" => LoginRefusal::PasswordWrong.into(),
            "PHONE_NUMBER_INVALID" => LoginRefusal::PhoneInvalid.into(),
            "PHONE_NUMBER_BANNED" => LoginRefusal::PhoneBanned.into(),
            "PHONE_NUMBER_UNOCCUPIED" => LoginRefusal::NoAccount.into(),
            "ACCESS_TOKEN_INVALID" | "ACCESS_TOKEN_EXPIRED" | "BOT_TOKEN_INVALID" => LoginRefusal::TokenInvalid.into(),
            "SEND_CODE_UNAVAILABLE" => LoginRefusal::NoOtherWay.into(),
            "API_ID_INVALID" | "API_ID_PUBLISHED_FLOOD" => LoginRefusal::ApiIdInvalid.into(),

            "RPC_CALL_FAIL" | "RPC_MCGET_FAIL" | "MSG_WAIT_FAILED" | "WORKER_BUSY_TOO_LONG_RETRY" | "Timeout" | "TIMEOUT" => {
                Self::transient(&method, Cause::Server { code, name })
            }
            other => match value.and_then(|dc| i32::try_from(dc).ok()) {
                Some(dc) if code == 303 && other.ends_with("_MIGRATE") => Self::Migrate { method, name, dc },
                Some(_) | None if code.unsigned_abs() >= 500 => Self::transient(&method, Cause::Server { code, name }),
                Some(_) | None => Self::UnknownRpc { method, code, name },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grammers_tl_types as tl;

    fn told(code: i32, message: &str) -> Error {
        let rpc = RpcError::from(tl::types::RpcError { error_code: code, error_message: message.into() });
        Error::from_invocation("messages.getHistory", InvocationError::Rpc(rpc), true)
    }

    #[test]
    fn waits_carry_their_method_and_length() {
        for name in ["FLOOD_WAIT_31", "FLOOD_PREMIUM_WAIT_31"] {
            let Error::Flood { method, wait } = told(420, name) else { panic!("{name}") };
            assert_eq!((method.as_str(), wait.as_secs()), ("messages.getHistory", 31));
        }
        assert!(matches!(told(420, "SLOWMODE_WAIT_9"), Error::SlowMode { wait, .. } if wait.as_secs() == 9));
        assert!(matches!(told(420, "TAKEOUT_INIT_DELAY_86400"), Error::TakeoutDelay { wait, .. } if wait.as_secs() == 86_400));
        assert_eq!(told(420, "FLOOD_WAIT_31").wait(), Some(Duration::from_secs(31)));
        assert_eq!(told(400, "PEER_FLOOD").wait(), None);
    }

    #[test]
    fn a_lost_account_is_known_by_each_of_its_names() {
        for name in ["AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "USER_DEACTIVATED", "USER_DEACTIVATED_BAN"] {
            assert!(matches!(told(401, name), Error::AccountLost { name: kept } if kept == name));
        }
    }

    #[test]
    fn a_duplicated_key_and_a_peer_flood_have_their_own_kinds() {
        assert!(matches!(told(406, "AUTH_KEY_DUPLICATED"), Error::KeyDuplicated));
        assert!(matches!(told(400, "PEER_FLOOD"), Error::PeerFlood { .. }));
    }

    #[test]
    fn network_and_server_trouble_passes() {
        let failed = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = Error::from_invocation("help.getConfig", InvocationError::Io(failed), true);
        assert!(std::error::Error::source(&error).is_some());
        let passes = |error| matches!(error, Error::Transient { .. });
        assert!(passes(error));
        assert!(passes(Error::from_invocation("x", InvocationError::Dropped("gone"), true)));
        let busy = InvocationError::Transport(transport::Error::BadStatus { status: 429 });
        assert!(passes(Error::from_invocation("x", busy, true)));
        for (code, name) in [(500, "RPC_CALL_FAIL"), (500, "INTERDC_2_CALL_ERROR"), (-503, "Timeout"), (503, "NEW_NAME")] {
            assert!(passes(told(code, name)), "{name}");
        }
    }

    #[test]
    fn a_refused_key_is_not_network_trouble() {
        let unknown = || InvocationError::Transport(transport::Error::BadStatus { status: 404 });
        assert!(matches!(Error::from_invocation("x", unknown(), true), Error::KeyRefused));
        let replaced = InvocationError::Session(Box::new(crate::telegram::session::HomeKeyReplaced));
        assert!(matches!(Error::from_invocation("x", replaced, true), Error::KeyRefused));
    }

    #[test]
    fn an_expired_file_reference_is_known_with_and_without_its_number() {
        for name in ["FILE_REFERENCE_EXPIRED", "FILE_REFERENCE_0_EXPIRED", "FILE_REFERENCE_3_EXPIRED"] {
            assert!(matches!(told(400, name), Error::FileReferenceExpired { .. }), "{name}");
        }
    }

    #[test]
    fn what_an_account_may_not_see_is_an_answer() {
        for name in ["CHANNEL_PRIVATE", "CHAT_ADMIN_REQUIRED", "USERNAME_NOT_OCCUPIED", "CHANNEL_INVALID"] {
            assert!(matches!(told(400, name), Error::Inaccessible { name: kept, .. } if kept == name));
        }
    }

    #[test]
    fn a_login_is_refused_in_words() {
        assert!(matches!(told(400, "PHONE_CODE_INVALID"), Error::Login(LoginRefusal::CodeWrong)));
        assert!(matches!(told(401, "SESSION_PASSWORD_NEEDED"), Error::Login(LoginRefusal::PasswordNeeded)));
        assert!(matches!(told(303, "PHONE_MIGRATE_4"), Error::Migrate { dc: 4, .. }));
    }

    #[test]
    fn an_unknown_name_is_kept_for_someone_to_look_at() {
        let Error::UnknownRpc { code, name, .. } = told(400, "FROBNICATION_REFUSED") else { panic!() };
        assert_eq!((code, name.as_str()), (400, "FROBNICATION_REFUSED"));
        assert!(matches!(told(420, "FROZEN_METHOD_INVALID"), Error::UnknownRpc { .. }));
    }
}
