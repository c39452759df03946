//! Methods of Telegram's API: unwrapping, rights, the list of what is known.

mod chats;
mod conduct;
mod files;
mod full;
mod history;
mod peers;
pub(crate) mod sign_in;
mod state;
mod users;

use std::sync::Arc;

use grammers_tl_types as tl;
use tl::functions as f;
use tl::{Cursor, Deserializable, Identifiable, RemoteCall, Serializable};

use crate::account::Account;
use crate::datacentre::Datacentre;
use crate::fault::{FaultKind, Strike};
use crate::rules;
use crate::wire::message::{GZIP_ID, constructor, unpack};

/// A refusal, as `rpc_error` carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: i32,
    name: String,
}

impl Failure {
    pub(crate) fn new(code: i32, name: &str) -> Self {
        Self { code, name: name.to_owned() }
    }

    /// 400, the caller's mistake.
    pub(crate) fn bad(name: &str) -> Self {
        Self::new(400, name)
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is to be waited for, and how many seconds; none for a refusal of another kind.
    pub(crate) fn wait(&self) -> Option<(&'static str, u64)> {
        const WAITS: [&str; 4] = ["FLOOD_WAIT", "FLOOD_PREMIUM_WAIT", "SLOWMODE_WAIT", "TAKEOUT_INIT_DELAY"];
        let (prefix, seconds) = self.name.rsplit_once('_')?;
        let prefix = WAITS.into_iter().find(|wait| *wait == prefix)?;
        Some((prefix, seconds.parse().ok()?))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        tl::enums::RpcError::Error(tl::types::RpcError { error_code: self.code, error_message: self.name.clone() }).to_bytes()
    }
}

/// A method's serialized answer.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Whether gzip may make it smaller; files are packed already.
    pub(crate) pack: bool,
    /// What goes wrong on its way.
    pub(crate) strike: Option<Strike>,
}

/// Who asks, and whom.
pub(crate) struct Caller<'a> {
    pub(crate) datacentre: &'a Datacentre,
    pub(crate) account: Arc<Account>,
}

/// The rest of a wrapped query.
struct Rest(Vec<u8>);

impl Deserializable for Rest {
    fn deserialize(cursor: &mut Cursor) -> tl::deserialize::Result<Self> {
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest)?;
        Ok(Self(rest))
    }
}

/// Answers one call.
pub(crate) fn answer(datacentre: &Datacentre, account: Arc<Account>, body: &[u8]) -> Result<Answer, Failure> {
    let body = unwrap(body)?;
    let id = constructor(&body);
    let method = tl::name_for_id(id);
    datacentre.calls.called(&account.name, method);
    let strike = datacentre.faults.strike(&account.name, method).map(FaultKind::split).transpose().inspect_err(|refusal| {
        if refusal.code == 420 {
            datacentre.calls.flooded(method);
            datacentre.conduct.told(&account.name, method, refusal);
        }
    })?;
    if strike == Some(Strike::WrongSalt) {
        return Ok(Answer { bytes: Vec::new(), pack: false, strike });
    }
    if !account.signed_in && !before_sign_in(id) {
        return Err(Failure::new(401, "AUTH_KEY_UNREGISTERED"));
    }
    let pack = id != f::upload::GetFile::CONSTRUCTOR_ID;
    let caller = Caller { datacentre, account };
    caller.within_rules(method, &body)?;
    Ok(Answer { bytes: dispatch(&caller, id, method, &body)?, pack, strike })
}

/// Takes off layers, connection data and other wrappers.
fn unwrap(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut body = body.to_vec();
    loop {
        let inner = match constructor(&body) {
            f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeWithLayer<Rest>>(&body).map(|wrapper| wrapper.query.0),
            f::InitConnection::<Rest>::CONSTRUCTOR_ID => read::<f::InitConnection<Rest>>(&body).map(|wrapper| wrapper.query.0),
            f::InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID => {
                read::<f::InvokeWithoutUpdates<Rest>>(&body).map(|wrapper| wrapper.query.0)
            }
            f::InvokeWithTakeout::<Rest>::CONSTRUCTOR_ID => {
                read::<f::InvokeWithTakeout<Rest>>(&body).map(|wrapper| wrapper.query.0)
            }
            f::InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeAfterMsg<Rest>>(&body).map(|wrapper| wrapper.query.0),
            GZIP_ID => unpack(&body).map_err(|_| Failure::bad("INPUT_REQUEST_GZIP_INVALID")),
            _ => return Ok(body),
        };
        body = inner?;
    }
}

fn read<T: Deserializable>(body: &[u8]) -> Result<T, Failure> {
    T::from_bytes(body.get(4..).unwrap_or_default()).map_err(|_| Failure::bad("INPUT_METHOD_INVALID"))
}

/// Reads the call, does the work, writes the answer; the compiler checks that the answer is the method's.
fn call<F>(body: &[u8], work: impl FnOnce(F) -> Result<F::Return, Failure>) -> Result<Vec<u8>, Failure>
where
    F: RemoteCall + Deserializable,
    F::Return: Serializable,
{
    Ok(work(read(body)?)?.to_bytes())
}

fn before_sign_in(id: u32) -> bool {
    matches!(
        id,
        f::help::GetConfig::CONSTRUCTOR_ID
            | f::help::GetNearestDc::CONSTRUCTOR_ID
            | f::auth::SendCode::CONSTRUCTOR_ID
            | f::auth::SignIn::CONSTRUCTOR_ID
            | f::auth::CheckPassword::CONSTRUCTOR_ID
            | f::account::GetPassword::CONSTRUCTOR_ID
            | f::auth::LogOut::CONSTRUCTOR_ID
    )
}

fn dispatch(caller: &Caller<'_>, id: u32, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    match id {
        f::help::GetConfig::CONSTRUCTOR_ID => call(body, |_: f::help::GetConfig| Ok(caller.config())),
        f::help::GetNearestDc::CONSTRUCTOR_ID => call(body, |_: f::help::GetNearestDc| Ok(caller.nearest_dc())),

        f::auth::SendCode::CONSTRUCTOR_ID => call(body, |call| caller.send_code(call)),
        f::auth::SignIn::CONSTRUCTOR_ID => call(body, |call| caller.sign_in(call)),
        f::auth::CheckPassword::CONSTRUCTOR_ID => call(body, |call| caller.check_password(call)),
        f::auth::LogOut::CONSTRUCTOR_ID => call(body, |_: f::auth::LogOut| caller.log_out()),
        f::account::GetPassword::CONSTRUCTOR_ID => call(body, |_: f::account::GetPassword| Ok(caller.password())),

        f::updates::GetState::CONSTRUCTOR_ID => call(body, |_: f::updates::GetState| Ok(caller.updates_state())),
        f::updates::GetDifference::CONSTRUCTOR_ID => call(body, |_: f::updates::GetDifference| Ok(caller.difference())),
        f::updates::GetChannelDifference::CONSTRUCTOR_ID => call(body, |call| caller.channel_difference(call)),

        f::users::GetUsers::CONSTRUCTOR_ID => call(body, |call: f::users::GetUsers| Ok(caller.users_by_input(&call.id))),
        f::users::GetFullUser::CONSTRUCTOR_ID => call(body, |call| caller.full_user(call)),
        f::contacts::ResolveUsername::CONSTRUCTOR_ID => call(body, |call| caller.resolve(call)),

        f::messages::GetDialogs::CONSTRUCTOR_ID => call(body, |call| caller.dialogs(call)),
        f::messages::GetChats::CONSTRUCTOR_ID => call(body, |call| caller.groups(call)),
        f::messages::GetFullChat::CONSTRUCTOR_ID => call(body, |call| caller.full_group(call)),
        f::channels::GetChannels::CONSTRUCTOR_ID => call(body, |call| caller.channels(call)),
        f::channels::GetFullChannel::CONSTRUCTOR_ID => call(body, |call| caller.full_channel(call)),
        f::channels::GetParticipant::CONSTRUCTOR_ID => call(body, |call| caller.participant(call)),

        f::messages::GetHistory::CONSTRUCTOR_ID => call(body, |call| caller.history(call)),
        f::messages::GetMessages::CONSTRUCTOR_ID => call(body, |call| caller.messages_by_id(call)),
        f::channels::GetMessages::CONSTRUCTOR_ID => call(body, |call| caller.channel_messages_by_id(call)),

        f::upload::GetFile::CONSTRUCTOR_ID => call(body, |call| caller.file(call)),

        f::account::InitTakeoutSession::CONSTRUCTOR_ID => call(body, |_: f::account::InitTakeoutSession| Ok(caller.takeout())),
        f::account::FinishTakeoutSession::CONSTRUCTOR_ID => call(body, |_: f::account::FinishTakeoutSession| Ok(true)),
        f::account::UpdateStatus::CONSTRUCTOR_ID => call(body, |_: f::account::UpdateStatus| Ok(true)),
        f::channels::ReadHistory::CONSTRUCTOR_ID => call(body, |_: f::channels::ReadHistory| Ok(true)),
        f::channels::ReadMessageContents::CONSTRUCTOR_ID => call(body, |_: f::channels::ReadMessageContents| Ok(true)),
        f::messages::ReadDiscussion::CONSTRUCTOR_ID => call(body, |_: f::messages::ReadDiscussion| Ok(true)),
        f::messages::ReadHistory::CONSTRUCTOR_ID => call(body, |_: f::messages::ReadHistory| Ok(caller.affected())),
        f::messages::ReadMessageContents::CONSTRUCTOR_ID => call(body, |_: f::messages::ReadMessageContents| Ok(caller.affected())),
        f::messages::SetTyping::CONSTRUCTOR_ID => call(body, |_: f::messages::SetTyping| Ok(true)),
        // <https://core.telegram.org/method/messages.sendMessage#possible-errors>: nobody writes here
        _ if rules::sends(method) => Err(Failure::new(403, "CHAT_WRITE_FORBIDDEN")),

        _ => {
            caller.datacentre.calls.unknown(method);
            tracing::debug!(rpc.method = method, rpc.constructor = format_args!("{id:#010x}"), "unknown method");
            Err(Failure::bad("METHOD_INVALID"))
        }
    }
}
