//! What an account's connection must know between two runs: its home datacentre, addresses, authorisation keys.
//!
//! Lives in RAM, because grammers asks for it on every call; changes are offered to whoever saves them. Two rules are kept
//! here: an address that was configured is never overwritten by what a server tells, and the home key is never replaced.
//! Peers and update states are not kept here: access hashes belong to the record, next to the chats.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grammers_session::types::{DcOption, PeerId, PeerInfo, UpdateState, UpdatesState};
use grammers_session::{BoxFuture, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::wire::Wire;

/// A permanent authorisation key: 256 bytes. Whoever holds it is the account; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(pub [u8; 256]);

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(hidden)")
    }
}

impl AuthKey {
    /// Length of the key in hexadecimal digits.
    pub const HEX_DIGITS: usize = 512;

    /// Reads 512 hexadecimal digits; none for anything else.
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != Self::HEX_DIGITS {
            return None;
        }
        let mut key = [0; 256];
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(key))
    }

    fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Serialize for AuthKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for AuthKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Self::from_hex(&digits).ok_or_else(|| serde::de::Error::custom("an authorisation key is 512 hexadecimal digits"))
    }
}

/// The phone number of an account's owner: never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phone(pub String);

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(hidden)")
    }
}

/// One datacentre as this session knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datacenter {
    /// None: the address that grammers knows for this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AuthKey>,
}

/// A session as it is sealed and saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    pub home_dc: i32,
    pub datacenters: BTreeMap<i32, Datacenter>,
    /// Addresses were configured: what the server says of addresses is ignored, and no other datacentre is contacted.
    pub pinned: bool,
    pub user_id: Option<i64>,
    /// As Telegram told it at the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
}

impl SessionData {
    /// A session that knows nothing yet, for a login at Telegram's own addresses.
    pub fn empty() -> Self {
        Self {
            home_dc: grammers_session::SessionData::default().home_dc,
            datacenters: BTreeMap::new(),
            pinned: false,
            user_id: None,
            phone: None,
        }
    }

    /// A session at one configured address.
    pub fn pinned(dc: i32, address: SocketAddr, key: Option<AuthKey>, user_id: Option<i64>) -> Self {
        let datacenter = Datacenter { address: Some(address), key };
        Self { home_dc: dc, datacenters: BTreeMap::from([(dc, datacenter)]), pinned: true, user_id, phone: None }
    }

    /// Where the home datacentre is reached; none for a number that is no datacentre's.
    pub fn home_address(&self) -> Option<SocketAddr> {
        Some(self.address(&self.option(self.home_dc)?))
    }

    /// The address of a datacentre that this session knows: the one that it was given, else grammers' own.
    fn address(&self, option: &DcOption) -> SocketAddr {
        self.datacenters.get(&option.id).and_then(|known| known.address).unwrap_or(SocketAddr::V4(option.ipv4))
    }

    fn option(&self, dc: i32) -> Option<DcOption> {
        let known = self.datacenters.get(&dc);
        let key = known.and_then(|known| known.key.as_ref()).map(|key| key.0);
        if let Some(address) = known.and_then(|known| known.address) {
            return Some(option_at(dc, address, key));
        }
        if self.pinned {
            return None;
        }
        let mut option = grammers_session::SessionData::default().dc_options.remove(&dc)?;
        option.auth_key = key;
        Some(option)
    }
}

fn option_at(dc: i32, address: SocketAddr, auth_key: Option<[u8; 256]>) -> DcOption {
    let (ipv4, ipv6) = match address {
        SocketAddr::V4(v4) => (v4, SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
        SocketAddr::V6(v6) => {
            let v4 = v6.ip().to_ipv4_mapped().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
            (SocketAddrV4::new(v4, v6.port()), v6)
        }
    };
    DcOption { id: dc, ipv4, ipv6, auth_key }
}

/// Why the session refused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the home datacentre no longer knows this session's key; a new one is not accepted in its place")]
pub struct HomeKeyReplaced;

struct State {
    data: SessionData,
    changed: bool,
    home_key_replaced: bool,
}

/// The session in use: what grammers reads and writes while the account is connected.
pub(super) struct LiveSession {
    state: Mutex<State>,
    on_change: Notify,
}

impl LiveSession {
    pub fn new(data: SessionData) -> Self {
        Self { state: Mutex::new(State { data, changed: false, home_key_replaced: false }), on_change: Notify::new() }
    }

    /// Plain data is never left half written, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn home_dc(&self) -> i32 {
        self.state().data.home_dc
    }

    pub fn data(&self) -> SessionData {
        self.state().data.clone()
    }

    pub fn has_home_key(&self) -> bool {
        let state = self.state();
        let home = state.data.datacenters.get(&state.data.home_dc);
        home.is_some_and(|dc| dc.key.is_some())
    }

    /// Whether a datacentre has made a key with this session.
    pub fn has_key(&self, dc: i32) -> bool {
        self.state().data.datacenters.get(&dc).is_some_and(|known| known.key.is_some())
    }

    pub fn home_key_replaced(&self) -> bool {
        self.state().home_key_replaced
    }

    /// Remembers that the server refused the home key, so that nobody asks again.
    pub fn refuse(&self) {
        self.state().home_key_replaced = true;
    }

    /// Waits until something has to be saved, and takes it.
    pub async fn changed(&self) -> SessionData {
        loop {
            let woken = self.on_change.notified();
            {
                let mut state = self.state();
                if state.changed {
                    state.changed = false;
                    return state.data.clone();
                }
            }
            woken.await;
        }
    }

    pub fn set_home_dc(&self, dc: i32) {
        self.change(|data| data.home_dc = dc);
    }

    pub fn set_user(&self, user_id: i64, phone: Option<Phone>) {
        self.change(|data| {
            data.user_id = Some(user_id);
            data.phone = phone.or(data.phone.take());
        });
    }

    fn change(&self, change: impl FnOnce(&mut SessionData)) {
        let mut state = self.state();
        let before = state.data.clone();
        change(&mut state.data);
        if state.data != before {
            state.changed = true;
            self.on_change.notify_one();
        }
    }

    fn learn(&self, option: &DcOption) -> Result<(), HomeKeyReplaced> {
        let mut refused = false;
        self.change(|data| {
            let home = data.home_dc;
            let pinned = data.pinned;
            let known_address = data.option(option.id).map(|known| known.ipv4);
            let known = data.datacenters.entry(option.id).or_default();
            if let Some(key) = option.auth_key {
                let replaces = known.key.as_ref().is_some_and(|old| old.0 != key);
                if replaces && option.id == home {
                    refused = true;
                    return;
                }
                known.key = Some(AuthKey(key));
            }
            let told = SocketAddr::V4(option.ipv4);
            if !pinned && known_address != Some(option.ipv4) && told.ip() != IpAddr::from([0, 0, 0, 0]) {
                known.address = Some(told);
            }
            // An entry that says nothing is not worth a save.
            if *known == Datacenter::default() {
                data.datacenters.remove(&option.id);
            }
        });
        if refused {
            self.refuse();
            return Err(HomeKeyReplaced);
        }
        Ok(())
    }
}

impl Session for LiveSession {
    type Error = HomeKeyReplaced;

    fn home_dc_id(&self) -> Result<i32, Self::Error> {
        Ok(self.home_dc())
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), Self::Error>> {
        self.set_home_dc(dc_id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, Self::Error> {
        Ok(self.state().data.option(dc_id))
    }

    fn set_dc_option(&self, dc_option: &DcOption) -> BoxFuture<'_, Result<(), Self::Error>> {
        Box::pin(std::future::ready(self.learn(dc_option)))
    }

    fn peer(&self, _: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, Self::Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn cache_peer(&self, _: PeerInfo) -> BoxFuture<'_, Result<(), Self::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, Self::Error>> {
        Box::pin(std::future::ready(Ok(UpdatesState::default())))
    }

    fn set_update_state(&self, _: UpdateState) -> BoxFuture<'_, Result<(), Self::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The session as grammers sees it: every datacentre is at an address of the relay's, and the real ones stay apart.
pub(super) struct Relayed {
    pub session: Arc<LiveSession>,
    pub wire: Arc<Wire>,
}

impl Session for Relayed {
    type Error = HomeKeyReplaced;

    fn home_dc_id(&self) -> Result<i32, Self::Error> {
        self.session.home_dc_id()
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), Self::Error>> {
        self.session.set_home_dc_id(dc_id)
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, Self::Error> {
        let option = self.session.dc_option(dc_id)?;
        Ok(option.and_then(|real| {
            let address = self.session.state().data.address(&real);
            match self.wire.way_to(dc_id, address) {
                Ok(listens) => Some(option_at(dc_id, listens, real.auth_key)),
                Err(error) => {
                    tracing::error!(%error, "no connection within this process can be made: are there too many open files?");
                    None
                }
            }
        }))
    }

    fn set_dc_option(&self, dc_option: &DcOption) -> BoxFuture<'_, Result<(), Self::Error>> {
        let real = match self.wire.real(dc_option.id, SocketAddr::V4(dc_option.ipv4)) {
            Some(real) => option_at(dc_option.id, real, dc_option.auth_key),
            None => dc_option.clone(),
        };
        Box::pin(std::future::ready(self.session.learn(&real)))
    }

    fn peer(&self, peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, Self::Error>> {
        self.session.peer(peer)
    }

    fn cache_peer(&self, peer: PeerInfo) -> BoxFuture<'_, Result<(), Self::Error>> {
        self.session.cache_peer(peer)
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, Self::Error>> {
        self.session.updates_state()
    }

    fn set_update_state(&self, state: UpdateState) -> BoxFuture<'_, Result<(), Self::Error>> {
        self.session.set_update_state(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned() -> LiveSession {
        let address = "127.0.0.1:4430".parse().unwrap();
        LiveSession::new(SessionData::pinned(2, address, Some(AuthKey([7; 256])), Some(1)))
    }

    fn option(dc: i32, address: &str, key: Option<u8>) -> DcOption {
        option_at(dc, address.parse().unwrap(), key.map(|byte| [byte; 256]))
    }

    #[test]
    fn a_configured_address_is_never_overwritten() {
        let session = pinned();
        session.learn(&option(2, "149.154.167.41:443", Some(7))).unwrap();
        session.learn(&option(4, "149.154.167.92:443", None)).unwrap();
        let home = session.dc_option(2).unwrap().unwrap();
        assert_eq!(home.ipv4, "127.0.0.1:4430".parse().unwrap());
        assert!(session.dc_option(4).unwrap().is_none());
        assert!(!session.state().changed);
    }

    #[test]
    fn a_new_home_key_is_refused_and_remembered() {
        let session = pinned();
        assert_eq!(session.learn(&option(2, "127.0.0.1:4430", Some(8))), Err(HomeKeyReplaced));
        assert!(session.home_key_replaced());
        assert_eq!(session.dc_option(2).unwrap().unwrap().auth_key, Some([7; 256]));
    }

    #[tokio::test]
    async fn a_first_key_is_offered_for_saving() {
        let session = LiveSession::new(SessionData::empty());
        let known = session.dc_option(2).unwrap().unwrap();
        session.learn(&known).unwrap();
        assert!(!session.state().changed, "telling what is known changes nothing");
        session.learn(&DcOption { auth_key: Some([1; 256]), ..known }).unwrap();
        let saved = session.changed().await;
        assert_eq!(saved.datacenters[&2].key, Some(AuthKey([1; 256])));
        assert_eq!(saved.datacenters[&2].address, None);
    }

    #[test]
    fn an_address_that_telegram_tells_is_learned_when_none_was_configured() {
        let session = LiveSession::new(SessionData::empty());
        session.learn(&option(2, "149.154.167.99:443", None)).unwrap();
        assert_eq!(session.dc_option(2).unwrap().unwrap().ipv4, "149.154.167.99:443".parse().unwrap());
    }

    #[test]
    fn keys_survive_the_round_trip_and_are_not_printed() {
        let data = pinned().data();
        let json = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<SessionData>(&json).unwrap(), data);
        assert!(!format!("{data:?}").contains("07"));
        assert!(format!("{data:?}").contains("hidden"));
    }

    #[test]
    fn a_phone_is_kept_and_not_printed_and_a_session_without_one_stays_readable() {
        let session = pinned();
        let before = serde_json::to_string(&session.data()).unwrap();
        assert!(!before.contains("phone"));
        assert_eq!(serde_json::from_str::<SessionData>(&before).unwrap().phone, None);
        session.set_user(1, Some(Phone("99966123456".into())));
        session.set_user(1, None);
        let data = session.data();
        assert_eq!(data.phone, Some(Phone("99966123456".into())), "what is not told erases nothing");
        assert!(!format!("{data:?}").contains("99966"));
        assert_eq!(serde_json::from_str::<SessionData>(&serde_json::to_string(&data).unwrap()).unwrap(), data);
    }
}
