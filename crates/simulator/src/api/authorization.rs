//! The authorizations of an account: listed, ended, and carried into another datacentre
//! (<https://core.telegram.org/api/auth>, <https://core.telegram.org/api/datacenter#authorization-transfer>).

use grammers_tl_types as tl;

use super::sign_in::kept;
use super::{Caller, Failure};
use crate::account::authorization::{Authorization, Ended};
use crate::{clock, srp};

/// How long an exported authorization can be imported.
const EXPORT_SECONDS: i32 = 60;
const EXPORTED: usize = 1000;

/// An authorization on its way to another datacentre.
#[derive(Debug)]
pub(super) struct Exported {
    user_id: i64,
    bytes: [u8; 128],
    account: String,
    from: i64,
    dc: i32,
    expires: i32,
}

impl Caller<'_> {
    pub(super) fn export_authorization(
        &self,
        call: tl::functions::auth::ExportAuthorization,
    ) -> Result<tl::enums::auth::ExportedAuthorization, Failure> {
        if call.dc_id == self.origin.dc || !self.datacentre.addresses.contains_key(&call.dc_id) {
            return Err(Failure::bad("DC_ID_INVALID"));
        }
        let now = clock::unix_now();
        let (bytes, id) = (srp::random::<128>(), self.account.user_id);
        let exported = &mut self.unfinished().exported;
        exported.retain(|exported| exported.expires >= now);
        if exported.len() >= EXPORTED {
            exported.remove(0);
        }
        exported.push(Exported {
            user_id: id,
            bytes,
            account: self.account.name.clone(),
            from: self.origin.key.imported_from.unwrap_or_else(|| self.key_id()),
            dc: call.dc_id,
            expires: now + EXPORT_SECONDS,
        });
        Ok(tl::types::auth::ExportedAuthorization { id, bytes: bytes.to_vec() }.into())
    }

    pub(super) fn import_authorization(
        &self,
        call: tl::functions::auth::ImportAuthorization,
    ) -> Result<tl::enums::auth::Authorization, Failure> {
        let exported = {
            let exported = &mut self.unfinished().exported;
            let at = exported.iter().position(|exported| exported.bytes[..] == call.bytes);
            let at = at.filter(|at| exported[*at].dc == self.origin.dc && exported[*at].expires >= clock::unix_now());
            let at = at.ok_or_else(|| Failure::bad("AUTH_BYTES_INVALID"))?;
            if exported[at].user_id != call.id {
                return Err(Failure::bad("USER_ID_INVALID"));
            }
            exported.remove(at)
        };
        let account = self.datacentre.accounts.by_name(&exported.account);
        let account = account.ok_or_else(|| Failure::bad("AUTH_BYTES_INVALID"))?;
        let authorization = self.authorized(account)?;
        kept(self.datacentre.accounts.change_key(self.key_id(), |key| key.imported_from = Some(exported.from)))?;
        Ok(authorization)
    }

    pub(super) fn authorizations(&self) -> tl::enums::account::Authorizations {
        let keys = self.datacentre.accounts.keys_of(&self.account.name);
        let home = keys.iter().filter(|key| key.imported_from.is_none());
        let mut authorizations: Vec<_> = home.map(|key| self.authorization(key)).collect();
        authorizations.sort_by_key(|told| (!told.current, told.date_created));
        tl::types::account::Authorizations {
            authorization_ttl_days: 180,
            authorizations: authorizations.into_iter().map(Into::into).collect(),
        }
        .into()
    }

    /// An authorization as its account is told of it.
    pub(super) fn authorization(&self, key: &Authorization) -> tl::types::Authorization {
        let current = key.key.id() == self.key_id();
        tl::types::Authorization {
            current,
            official_app: false,
            password_pending: false,
            encrypted_requests_disabled: false,
            call_requests_disabled: false,
            unconfirmed: false,
            hash: if current { 0 } else { key.hash },
            device_model: key.device.model.clone(),
            platform: String::new(),
            system_version: key.device.system_version.clone(),
            api_id: key.device.api_id,
            app_name: String::new(),
            app_version: key.device.app_version.clone(),
            date_created: key.signed_in,
            date_active: key.last_seen,
            ip: key.address.clone(),
            country: String::new(),
            region: String::new(),
        }
    }

    pub(super) fn end_authorization(&self, call: tl::functions::account::ResetAuthorization) -> Result<bool, Failure> {
        let keys = self.datacentre.accounts.keys_of(&self.account.name);
        let key = keys.iter().find(|key| key.hash == call.hash && key.key.id() != self.key_id());
        let key = key.ok_or_else(|| Failure::bad("HASH_INVALID"))?;
        kept(self.datacentre.accounts.change_key(key.key.id(), |key| key.sign_out(Ended::Unregistered)))?;
        Ok(true)
    }

    /// All but the caller's own, which includes what was exported from it.
    pub(super) fn end_others(&self) -> Result<bool, Failure> {
        let own = self.key_id();
        for key in self.datacentre.accounts.keys_of(&self.account.name) {
            if key.key.id() != own && key.imported_from != Some(own) {
                kept(self.datacentre.accounts.change_key(key.key.id(), |key| key.sign_out(Ended::Revoked)))?;
            }
        }
        Ok(true)
    }
}
