//! Methods of Telegram's API: unwrapping, rights, the list of what is known.

mod chats;
mod files;
mod full;
mod history;
mod joining;
mod peers;
pub(crate) mod sign_in;
mod state;
mod subscription;
mod threads;
pub(crate) mod updates;
mod users;

use std::sync::Arc;

use grammers_tl_types as tl;
use tl::functions as f;
use tl::{Cursor, Deserializable, Identifiable, RemoteCall, Serializable};

use crate::account::Account;
use crate::datacentre::Datacentre;
use crate::links::SessionId;
use crate::wire::message::{GZIP_ID, constructor, unpack};

pub(crate) use subscription::subscribes;

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

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        tl::enums::RpcError::Error(tl::types::RpcError { error_code: self.code, error_message: self.name.clone() }).to_bytes()
    }
}

/// A method's serialized answer.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Whether gzip may make it smaller; files are packed already.
    pub(crate) pack: bool,
}

/// Who asks, and whom.
pub(crate) struct Caller<'a> {
    pub(crate) datacentre: &'a Datacentre,
    pub(crate) account: Arc<Account>,
    /// The session that asks, if one does.
    pub(crate) session: Option<SessionId>,
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
pub(crate) fn answer(datacentre: &Datacentre, account: Arc<Account>, session: SessionId, body: &[u8]) -> Result<Answer, Failure> {
    let body = unwrap(body)?;
    let id = constructor(&body);
    let method = tl::name_for_id(id);
    datacentre.calls.called(&account.name, method);
    if let Some(refusal) = datacentre.floods.refusal(&account.name, method) {
        if refusal.code == 420 {
            datacentre.calls.flooded(method);
        }
        return Err(refusal);
    }
    if !account.signed_in && !before_sign_in(id) {
        return Err(Failure::new(401, "AUTH_KEY_UNREGISTERED"));
    }
    // What a call tells belongs to one moment; joining and leaving make the next.
    let _moment = (!happens(id)).then(|| datacentre.world.moment());
    let pack = id != f::upload::GetFile::CONSTRUCTOR_ID;
    let caller = Caller { datacentre, account, session: Some(session) };
    Ok(Answer { bytes: dispatch(&caller, id, method, &body)?, pack })
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

/// Whether a call makes something happen in the world.
fn happens(id: u32) -> bool {
    matches!(
        id,
        f::channels::JoinChannel::CONSTRUCTOR_ID
            | f::channels::LeaveChannel::CONSTRUCTOR_ID
            | f::messages::ImportChatInvite::CONSTRUCTOR_ID
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
        f::updates::GetDifference::CONSTRUCTOR_ID => call(body, |call| caller.difference(call)),
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

        f::messages::GetReplies::CONSTRUCTOR_ID => call(body, |call| caller.replies(call)),
        f::messages::GetDiscussionMessage::CONSTRUCTOR_ID => call(body, |call| caller.discussion(call)),
        f::messages::Search::CONSTRUCTOR_ID => call(body, |call| caller.search(call)),
        f::messages::GetForumTopics::CONSTRUCTOR_ID => call(body, |call| caller.topics(call)),
        f::messages::GetForumTopicsById::CONSTRUCTOR_ID => call(body, |call| caller.topics_by_id(call)),
        f::messages::GetMessagesViews::CONSTRUCTOR_ID => call(body, |call| caller.views(call)),
        f::messages::GetMessagesReactions::CONSTRUCTOR_ID => call(body, |call| caller.reactions(call)),

        f::channels::JoinChannel::CONSTRUCTOR_ID => call(body, |call| caller.join(call)),
        f::channels::LeaveChannel::CONSTRUCTOR_ID => call(body, |call| caller.leave(call)),
        f::messages::CheckChatInvite::CONSTRUCTOR_ID => call(body, |call| caller.check_invite(call)),
        f::messages::ImportChatInvite::CONSTRUCTOR_ID => call(body, |call| caller.import_invite(call)),

        f::upload::GetFile::CONSTRUCTOR_ID => call(body, |call| caller.file(call)),

        _ => {
            caller.datacentre.calls.unknown(method);
            tracing::debug!(rpc.method = method, rpc.constructor = format_args!("{id:#010x}"), "unknown method");
            Err(Failure::bad("METHOD_INVALID"))
        }
    }
}
