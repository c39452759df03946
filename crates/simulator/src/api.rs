//! Methods of Telegram's API: unwrapping, rights, the list of what is known.

mod as_input;
mod authorization;
mod chats;
mod conduct;
mod files;
mod full;
mod history;
mod joining;
mod login_token;
mod members;
mod peers;
mod references;
pub(crate) mod sign_in;
mod state;
mod temporary_key;
mod threads;
pub(crate) mod updates;
mod users;

use std::sync::Arc;

use grammers_tl_types as tl;
use tl::functions as f;
use tl::{Cursor, Deserializable, Identifiable, RemoteCall, Serializable};

use crate::account::authorization::{Authorization, Device, Ended};
use crate::account::{Account, Standing};
use crate::datacentre::Datacentre;
use crate::fault::{FaultKind, Strike};
use crate::session::Session;
use crate::wire::message::{GZIP_ID, constructor, unpack};

/// Wrappers within wrappers; clients use up to four.
const MAX_WRAPPERS: usize = 12;

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

    /// 303, what is asked for is in another datacentre (<https://core.telegram.org/api/errors#303-see-other>).
    pub(crate) fn elsewhere(what: &str, dc: i32) -> Self {
        Self::new(303, &format!("{what}_MIGRATE_{dc}"))
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

/// Where a call came from.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The key as it was when the packet came.
    pub(crate) key: Arc<Authorization>,
    pub(crate) session: Arc<Session>,
    /// The datacentre that was asked.
    pub(crate) dc: i32,
    /// The id of the message that carried the call.
    pub(crate) message: i64,
}

/// Who asks, and whom.
pub(crate) struct Caller<'a> {
    pub(crate) datacentre: &'a Datacentre,
    /// Nobody's, before the sign-in.
    pub(crate) account: Arc<Account>,
    pub(crate) origin: Origin,
}

impl<'a> Caller<'a> {
    /// An account that is told something without having asked.
    pub(crate) fn told(datacentre: &'a Datacentre, account: Arc<Account>) -> Self {
        let key = Arc::new(Authorization::new(account.key.clone(), account.dc, 0));
        let session = Arc::new(Session::new(account.key.clone(), 0));
        let origin = Origin { key, session, dc: account.dc, message: 0 };
        Caller { datacentre, account, origin }
    }
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
pub(crate) fn answer(datacentre: &Datacentre, mut origin: Origin, body: &[u8]) -> Result<Answer, Failure> {
    let (body, wrappers) = unwrap(body)?;
    wrappers.note(datacentre, &origin);
    let id = constructor(&body);
    let method = tl::name_for_id(id);
    // The key as it is now: an earlier message of the same packet may have signed it in.
    origin.key = now(datacentre, &origin.key);
    let signed_in = datacentre.accounts.account_of(&origin.key);
    let account = signed_in.clone().or_else(|| datacentre.accounts.by_name(origin.key.made_for.as_deref()?));
    let account = account.unwrap_or_else(|| Arc::new(Account::nobody(origin.key.key.clone())));
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
    match &signed_in {
        Some(account) => may_call(account, &origin, method)?,
        None => may_call_before_sign_in(&origin.key, id)?,
    }
    if !wrappers.without_updates && subscribes(id) {
        origin.session.ask_for_updates();
    }
    let account = if signed_in.is_some() { account } else { Arc::new(Account::nobody(origin.key.key.clone())) };
    let pack = id != f::upload::GetFile::CONSTRUCTOR_ID;
    let caller = Caller { datacentre, account, origin };
    caller.within_rules(method, &body)?;
    // What a call tells belongs to one moment; joining and leaving make the next.
    let _moment = (!happens(id)).then(|| datacentre.world.moment());
    Ok(Answer { bytes: dispatch(&caller, id, method, &body)?, pack, strike })
}

/// Reading files does not: <https://core.telegram.org/method/invokeWithoutUpdates>
fn subscribes(id: u32) -> bool {
    !matches!(id, f::upload::GetFile::CONSTRUCTOR_ID | f::upload::GetFileHashes::CONSTRUCTOR_ID)
}

/// The key that stands for the sender: a bound temporary key speaks for its permanent one.
fn now(datacentre: &Datacentre, key: &Arc<Authorization>) -> Arc<Authorization> {
    let current = datacentre.accounts.key(key.key.id()).unwrap_or_else(|| key.clone());
    let permanent = current.temporary.as_ref().and_then(|temporary| temporary.bound_to);
    permanent.and_then(|id| datacentre.accounts.key(id)).unwrap_or(current)
}

/// <https://core.telegram.org/api/errors>
fn may_call(account: &Account, origin: &Origin, method: &str) -> Result<(), Failure> {
    match account.standing {
        Standing::Active => {}
        Standing::Deactivated => return Err(Failure::new(401, "USER_DEACTIVATED")),
        Standing::Banned => return Err(Failure::new(401, "USER_DEACTIVATED_BAN")),
    }
    let anywhere = ["auth.", "help.", "upload.", "account.getPassword"];
    if account.dc != origin.dc && !anywhere.iter().any(|prefix| method.starts_with(prefix)) {
        return Err(Failure::elsewhere("USER", account.dc));
    }
    Ok(())
}

fn may_call_before_sign_in(key: &Authorization, id: u32) -> Result<(), Failure> {
    match key.ended {
        Some(Ended::Duplicated) => Err(Failure::new(406, "AUTH_KEY_DUPLICATED")),
        _ if key.temporary.is_some() && id != f::auth::BindTempAuthKey::CONSTRUCTOR_ID => {
            Err(Failure::new(401, "AUTH_KEY_PERM_EMPTY"))
        }
        _ if before_sign_in(id) => Ok(()),
        Some(Ended::Revoked) => Err(Failure::new(401, "SESSION_REVOKED")),
        Some(Ended::Expired) => Err(Failure::new(401, "SESSION_EXPIRED")),
        Some(Ended::Unregistered) | None => Err(Failure::new(401, "AUTH_KEY_UNREGISTERED")),
    }
}

/// What the wrappers of a call told (<https://core.telegram.org/api/invoking>).
#[derive(Debug, Default)]
struct Wrappers {
    layer: Option<i32>,
    device: Option<Device>,
    without_updates: bool,
}

impl Wrappers {
    fn note(&self, datacentre: &Datacentre, origin: &Origin) {
        let id = origin.key.key.id();
        if self.layer.is_some() && self.layer != origin.key.layer {
            datacentre.accounts.note(id, |key| key.layer = self.layer);
        }
        if let Some(device) = &self.device
            && *device != origin.key.device
        {
            datacentre.accounts.note(id, |key| key.device = device.clone());
        }
    }
}

/// Takes off layers, connection data and other wrappers.
fn unwrap(body: &[u8]) -> Result<(Vec<u8>, Wrappers), Failure> {
    let mut body = body.to_vec();
    let mut wrappers = Wrappers::default();
    for _ in 0..MAX_WRAPPERS {
        body = match constructor(&body) {
            f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID => {
                let wrapper: f::InvokeWithLayer<Rest> = read(&body)?;
                wrappers.layer = Some(wrapper.layer);
                wrapper.query.0
            }
            f::InitConnection::<Rest>::CONSTRUCTOR_ID => {
                let wrapper: f::InitConnection<Rest> = read(&body)?;
                wrappers.device = Some(Device {
                    api_id: wrapper.api_id,
                    model: wrapper.device_model,
                    system_version: wrapper.system_version,
                    app_version: wrapper.app_version,
                    lang_code: wrapper.lang_code,
                });
                wrapper.query.0
            }
            f::InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID => {
                wrappers.without_updates = true;
                read::<f::InvokeWithoutUpdates<Rest>>(&body)?.query.0
            }
            f::InvokeWithTakeout::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeWithTakeout<Rest>>(&body)?.query.0,
            f::InvokeWithMessagesRange::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeWithMessagesRange<Rest>>(&body)?.query.0,
            f::InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeAfterMsg<Rest>>(&body)?.query.0,
            f::InvokeAfterMsgs::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeAfterMsgs<Rest>>(&body)?.query.0,
            GZIP_ID => unpack(&body).map_err(|_| Failure::bad("INPUT_REQUEST_GZIP_INVALID"))?,
            _ => return Ok((body, wrappers)),
        };
    }
    Err(Failure::bad("INPUT_REQUEST_TOO_LONG"))
}

fn read<T: Deserializable>(body: &[u8]) -> Result<T, Failure> {
    let body = body.get(4..).unwrap_or_default();
    let read = T::from_bytes(body).or_else(|_| T::from_bytes(&as_input::peers_as_inputs(body)));
    read.map_err(|_| Failure::bad("INPUT_METHOD_INVALID"))
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
            | f::auth::ResendCode::CONSTRUCTOR_ID
            | f::auth::CancelCode::CONSTRUCTOR_ID
            | f::auth::SignIn::CONSTRUCTOR_ID
            | f::auth::ImportAuthorization::CONSTRUCTOR_ID
            | f::auth::ImportBotAuthorization::CONSTRUCTOR_ID
            | f::auth::ExportLoginToken::CONSTRUCTOR_ID
            | f::auth::ImportLoginToken::CONSTRUCTOR_ID
            | f::auth::BindTempAuthKey::CONSTRUCTOR_ID
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
            | f::messages::DeleteChatUser::CONSTRUCTOR_ID
            | f::messages::ImportChatInvite::CONSTRUCTOR_ID
    )
}

fn dispatch(caller: &Caller<'_>, id: u32, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    match id {
        f::help::GetConfig::CONSTRUCTOR_ID => call(body, |_: f::help::GetConfig| Ok(caller.config())),
        f::help::GetNearestDc::CONSTRUCTOR_ID => call(body, |_: f::help::GetNearestDc| Ok(caller.nearest_dc())),

        f::auth::SendCode::CONSTRUCTOR_ID => call(body, |call| caller.send_code(call)),
        f::auth::ResendCode::CONSTRUCTOR_ID => call(body, |call| caller.resend_code(call)),
        f::auth::CancelCode::CONSTRUCTOR_ID => call(body, |call| caller.cancel_code(call)),
        f::auth::SignIn::CONSTRUCTOR_ID => call(body, |call| caller.sign_in(call)),
        f::auth::CheckPassword::CONSTRUCTOR_ID => call(body, |call| caller.check_password(call)),
        f::auth::ImportBotAuthorization::CONSTRUCTOR_ID => call(body, |call| caller.bot(call)),
        f::auth::ExportLoginToken::CONSTRUCTOR_ID => call(body, |call| caller.export_token(call)),
        f::auth::ImportLoginToken::CONSTRUCTOR_ID => call(body, |call| caller.import_token(call)),
        f::auth::AcceptLoginToken::CONSTRUCTOR_ID => call(body, |call| caller.accept_token(call)),
        f::auth::ExportAuthorization::CONSTRUCTOR_ID => call(body, |call| caller.export_authorization(call)),
        f::auth::ImportAuthorization::CONSTRUCTOR_ID => call(body, |call| caller.import_authorization(call)),
        f::auth::ResetAuthorizations::CONSTRUCTOR_ID => call(body, |_: f::auth::ResetAuthorizations| caller.end_others()),
        f::auth::BindTempAuthKey::CONSTRUCTOR_ID => call(body, |call| caller.bind_temporary_key(call)),
        f::auth::LogOut::CONSTRUCTOR_ID => call(body, |_: f::auth::LogOut| caller.log_out()),
        f::account::GetPassword::CONSTRUCTOR_ID => call(body, |_: f::account::GetPassword| caller.password()),
        f::account::GetAuthorizations::CONSTRUCTOR_ID => call(body, |_: f::account::GetAuthorizations| Ok(caller.authorizations())),
        f::account::ResetAuthorization::CONSTRUCTOR_ID => call(body, |call| caller.end_authorization(call)),

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
        f::channels::GetParticipants::CONSTRUCTOR_ID => call(body, |call| caller.participants(call)),
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
        f::messages::DeleteChatUser::CONSTRUCTOR_ID => call(body, |call| caller.leave_group(call)),
        f::messages::CheckChatInvite::CONSTRUCTOR_ID => call(body, |call| caller.check_invite(call)),
        f::messages::ImportChatInvite::CONSTRUCTOR_ID => call(body, |call| caller.import_invite(call)),

        f::upload::GetFile::CONSTRUCTOR_ID => call(body, |call| caller.file(call)),
        f::upload::GetFileHashes::CONSTRUCTOR_ID => call(body, |call| caller.file_hashes(call)),
        f::photos::GetUserPhotos::CONSTRUCTOR_ID => call(body, |call| caller.user_photos(call)),

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
        _ if crate::conduct::sends(method) => Err(Failure::new(403, "CHAT_WRITE_FORBIDDEN")),

        _ => {
            caller.datacentre.calls.unknown(method);
            tracing::debug!(rpc.method = method, rpc.constructor = format_args!("{id:#010x}"), "unknown method");
            Err(Failure::bad("METHOD_INVALID"))
        }
    }
}
