//! Sign-ins under way by HTTP: the steps of [`crate::account::login`], kept between requests for a limited time. Codes, passwords and
//! the addresses of QR codes are in no log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::{Http, problem::Problem};
use crate::account::{Account, Accounts, How, LostKey, SessionFile, Step};
use crate::telegram::SessionData;
use crate::{clock, normalize};

/// Whoever begins has so long to finish.
pub const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Sign-ins at once.
const MOST: usize = 20;

/// Those under way, by the account's label.
#[derive(Default)]
pub struct SignIns(Mutex<HashMap<String, UnderWay>>);

struct UnderWay {
    accounts: Arc<Accounts>,
    began: Instant,
    step: Step,
    /// Waits for a QR code to be scanned.
    _watch: Option<AbortOnDropHandle<()>>,
}

impl SignIns {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, UnderWay>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, it| it.began.elapsed() < LIMIT);
        all
    }

    fn accounts(&self, label: &str) -> Result<Arc<Accounts>, Problem> {
        let none = || {
            Problem::not_found(format!("no sign-in of {label} is under way here, or its time is over"))
                .remedy("begin it: POST /api/v1/sign-ins")
        };
        self.all().get(label).map(|it| it.accounts.clone()).ok_or_else(none)
    }

    /// What a sign-in waits for.
    pub fn step(&self, label: &str) -> Result<Step, Problem> {
        self.accounts(label)?;
        self.all().get(label).map(|it| it.step.clone()).ok_or_else(|| Problem::not_found("no sign-in is under way"))
    }

    /// Forgets a sign-in. Answers whether one was under way.
    pub fn forget(&self, label: &str) -> bool {
        self.all().remove(label).is_some()
    }
}

/// Begins a sign-in, in place of one of this label.
pub async fn begin(http: &Http, label: &str, how: How) -> Result<Step, Problem> {
    let under_way = &http.sign_ins;
    under_way.forget(label);
    if under_way.all().len() >= MOST {
        return Err(Problem::away("too-many-sign-ins", "Too many sign-ins are under way", "finish or end one of them first"));
    }
    http.config.api().map_err(|_| {
        Problem::conflict("no api_id or api_hash is configured on this node")
            .remedy("get both at https://my.telegram.org and set them below [telegram]")
    })?;
    let start = match &http.config.telegram.datacentre {
        Some(file) => SessionFile::read(file).map_err(|error| super::problem::failed(&error))?.session(),
        None => SessionData::empty(),
    };
    let accounts = http.accounts()?;
    let step = accounts.begin_login(label, start, how, LostKey::Refuse).await?;
    let watch = matches!(step, Step::Scan(_)).then(|| watched(http.clone(), accounts.clone(), label.to_owned()));
    let entry = UnderWay { accounts, began: clock::mark(), step: step.clone(), _watch: watch };
    under_way.all().insert(label.to_owned(), entry);
    reached(http, label, step).await
}

/// Goes a step on: with a code, a password, or for another code.
pub async fn go_on(http: &Http, label: &str, given: Given) -> Result<Step, Problem> {
    let accounts = http.sign_ins.accounts(label)?;
    let step = match given {
        Given::Code(code) => accounts.give_code(label, &code).await?,
        Given::Password(password) => accounts.give_password(label, &password).await?,
        Given::AnotherCode => accounts.resend_code(label).await?,
    };
    reached(http, label, step).await
}

/// What somebody gives at a step. It is never printed.
pub enum Given {
    Code(String),
    Password(String),
    AnotherCode,
}

/// Waits for the scan, and shows the newest picture meanwhile.
fn watched(http: Http, accounts: Arc<Accounts>, label: String) -> AbortOnDropHandle<()> {
    let shutdown = http.shutdown.clone();
    let watch = async move {
        let began = clock::mark();
        while began.elapsed() < LIMIT {
            let step = match accounts.look_for_scan(&label).await {
                Ok(step) => step,
                Err(error) => {
                    tracing::warn!(account.label = %label, "http: a sign-in by QR code ended: {error}");
                    http.sign_ins.forget(&label);
                    return;
                }
            };
            let goes_on = matches!(step, Step::Scan(_));
            let _ = reached(&http, &label, step).await;
            if !goes_on {
                return;
            }
        }
    };
    AbortOnDropHandle::new(tokio::spawn(async move {
        shutdown.run_until_cancelled(watch).await;
    }))
}

/// Remembers where a sign-in stands; at its end the account's chats are learned.
async fn reached(http: &Http, label: &str, step: Step) -> Result<Step, Problem> {
    if let Step::Done(account) = &step {
        // The entry stays until its time is over, so that whoever looks sees that it is done.
        let accounts = http.accounts()?;
        let (account, shutdown) = (account.clone(), http.shutdown.clone());
        tokio::spawn(async move {
            shutdown.run_until_cancelled(learn(&accounts, &account)).await;
            accounts.close().await;
        });
        http.events.touch();
    }
    if let Some(it) = http.sign_ins.all().get_mut(label) {
        it.step = step.clone();
    }
    Ok(step)
}

/// Lists the account's dialogs, once: which chats it knows stays in the record. A node that was faster does the same.
async fn learn(accounts: &Accounts, account: &Account) {
    let listed = async {
        let dialogs = accounts.dialogs(account.id).await?;
        accounts.note_peers(account.id, &normalize::peers(&dialogs.chats, &dialogs.users)).await
    }
    .await;
    if let Err(error) = listed {
        tracing::info!(account.label = %account.label, "its chats are not listed yet: {}", crate::error::chain(&error));
    }
}
