//! Signing in by a QR code: a token that another session of the account accepts (<https://core.telegram.org/api/qr-login>).

use grammers_tl_types as tl;

use super::sign_in::check_api;
use super::{Caller, Failure};
use crate::wire::message::Outgoing;
use crate::{clock, srp};

const TOKEN_SECONDS: i32 = 30;
const TOKENS: usize = 1000;

/// A token that a key waits with.
#[derive(Debug)]
pub(super) struct Token {
    bytes: [u8; 32],
    /// The waiting key, and the one that its packets are encrypted with.
    key: i64,
    wire_key: i64,
    expires: i32,
    /// The account that accepted it.
    account: Option<String>,
}

impl Caller<'_> {
    pub(super) fn export_token(&self, call: tl::functions::auth::ExportLoginToken) -> Result<tl::enums::auth::LoginToken, Failure> {
        check_api(call.api_id, &call.api_hash)?;
        let (key, now) = (self.key_id(), clock::unix_now());
        let mut unfinished = self.unfinished();
        if let Some(accepted) = unfinished.tokens.iter().find(|token| token.key == key && token.account.is_some()) {
            let token = accepted.bytes;
            drop(unfinished);
            return self.import(&token);
        }
        let tokens = &mut unfinished.tokens;
        tokens.retain(|token| token.key != key && token.expires + TOKEN_SECONDS >= now);
        if tokens.len() >= TOKENS {
            tokens.remove(0);
        }
        let (bytes, expires) = (srp::random::<32>(), now + TOKEN_SECONDS);
        tokens.push(Token { bytes, key, wire_key: self.origin.session.key.id(), expires, account: None });
        Ok(tl::types::auth::LoginToken { expires, token: bytes.to_vec() }.into())
    }

    pub(super) fn import_token(&self, call: tl::functions::auth::ImportLoginToken) -> Result<tl::enums::auth::LoginToken, Failure> {
        self.import(&call.token)
    }

    /// Signs the caller in with a token that was accepted, or sends it to the account's home.
    fn import(&self, bytes: &[u8]) -> Result<tl::enums::auth::LoginToken, Failure> {
        let account = {
            let mut unfinished = self.unfinished();
            let at = unfinished.tokens.iter().position(|token| token.bytes[..] == *bytes);
            let at = at.ok_or_else(|| Failure::bad("AUTH_TOKEN_INVALID"))?;
            if unfinished.tokens[at].expires < clock::unix_now() {
                unfinished.tokens.remove(at);
                return Err(Failure::bad("AUTH_TOKEN_EXPIRED"));
            }
            let accepted = unfinished.tokens[at].account.as_deref();
            let account = accepted.and_then(|name| self.datacentre.accounts.by_name(name));
            let account = account.ok_or_else(|| Failure::bad("AUTH_TOKEN_INVALID"))?;
            if account.dc != self.origin.dc {
                return Ok(tl::types::auth::LoginTokenMigrateTo { dc_id: account.dc, token: bytes.to_vec() }.into());
            }
            unfinished.tokens.remove(at);
            account
        };
        let authorization = self.admit(account)?;
        Ok(tl::types::auth::LoginTokenSuccess { authorization }.into())
    }

    pub(super) fn accept_token(&self, call: tl::functions::auth::AcceptLoginToken) -> Result<tl::enums::Authorization, Failure> {
        let (key, wire_key) = {
            let mut unfinished = self.unfinished();
            let token = unfinished.tokens.iter_mut().find(|token| token.bytes[..] == call.token);
            let token = token.ok_or_else(|| Failure::bad("AUTH_TOKEN_INVALIDX"))?;
            if token.expires < clock::unix_now() {
                return Err(Failure::bad("AUTH_TOKEN_EXPIRED"));
            }
            if token.account.is_some() {
                return Err(Failure::bad("AUTH_TOKEN_ALREADY_ACCEPTED"));
            }
            token.account = Some(self.account.name.clone());
            (token.key, token.wire_key)
        };
        let key = self.datacentre.accounts.key(key).ok_or_else(|| Failure::bad("AUTH_TOKEN_EXPIRED"))?;
        let update = tl::types::UpdateShort { update: tl::enums::Update::LoginToken, date: clock::unix_now() };
        let update = tl::enums::Updates::UpdateShort(update);
        for session in self.datacentre.sessions.of_key(wire_key) {
            session.send(None, Outgoing::notice(&update));
        }
        Ok(self.authorization(&key).into())
    }
}
