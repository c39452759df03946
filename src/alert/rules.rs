//! The rules: what each looks at, from when it applies, and what an operator can do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};
use telekeep_queue as queue;

use crate::clock;
use crate::config::Config;
use crate::record::alert::Finding;
use crate::record::health;
use crate::record::{self, gauge, reconcile, signs};

/// Everything that is looked at. Names are permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    AccountLost,
    HolesStay,
    ChatSilent,
    JobsWait,
    ElasticsearchAway,
    DeadLetters,
    DiskLow,
    LeasesRestless,
    SchemaNewer,
}

impl Rule {
    pub const ALL: [Rule; 9] = [
        Self::AccountLost,
        Self::HolesStay,
        Self::ChatSilent,
        Self::JobsWait,
        Self::ElasticsearchAway,
        Self::DeadLetters,
        Self::DiskLow,
        Self::LeasesRestless,
        Self::SchemaNewer,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountLost => "account_lost",
            Self::HolesStay => "holes_stay",
            Self::ChatSilent => "chat_silent",
            Self::JobsWait => "jobs_wait",
            Self::ElasticsearchAway => "elasticsearch_away",
            Self::DeadLetters => "dead_letters",
            Self::DiskLow => "disk_low",
            Self::LeasesRestless => "leases_restless",
            Self::SchemaNewer => "schema_newer",
        }
    }

    /// What takes long to look at is looked at so seldom that it takes a twentieth of the time, and silence is counted in hours.
    fn pause(self, every: Duration, took: Duration) -> Duration {
        match self {
            Self::HolesStay => every.max(took * 20),
            Self::ChatSilent => (every * 10).max(took * 20),
            _ => Duration::ZERO,
        }
    }
}

/// What a node tells of its disks counts for so long.
const DISKS_COUNT: Duration = Duration::from_secs(15 * 60);

/// Looks at the rules in turn.
pub struct Look {
    config: Config,
    node: String,
    due: [Option<Instant>; Rule::ALL.len()],
    told: [bool; Rule::ALL.len()],
}

impl Look {
    pub fn new(config: Config, node: String) -> Self {
        Self { config, node, due: [None; Rule::ALL.len()], told: [false; Rule::ALL.len()] }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Notes the disks of this node: each node does, whoever looks.
    pub async fn note_disks(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let disks = disks(&self.config);
        let seen: Vec<(&str, u64, u64)> = disks.iter().map(|(role, disk)| (*role, disk.free, disk.size)).collect();
        signs::note_disks(conn, &self.node, &seen).await
    }

    /// What the rules find that are due; the names of those that were looked at. One that cannot be looked at changes nothing.
    pub async fn findings(&mut self, pool: &PgPool) -> (Vec<&'static str>, Vec<Finding>) {
        let every = Duration::from_secs(self.config.alerts.every_seconds.max(1));
        let (mut asked, mut all) = (Vec::new(), Vec::new());
        for (at, rule) in Rule::ALL.into_iter().enumerate() {
            let began = clock::mark();
            if self.due[at].is_some_and(|due| began < due) {
                continue;
            }
            match self.look(rule, pool).await {
                Ok(found) => {
                    asked.push(rule.as_str());
                    all.extend(found);
                    self.told[at] = false;
                }
                Err(error) if !self.told[at] => {
                    self.told[at] = true;
                    tracing::warn!(alert.rule = rule.as_str(), "a rule cannot be looked at: {}", crate::error::chain(&error));
                }
                Err(_) => {}
            }
            self.due[at] = Some(clock::mark() + rule.pause(every, began.elapsed()));
        }
        (asked, all)
    }

    async fn look(&self, rule: Rule, pool: &PgPool) -> Result<Vec<Finding>, record::Error> {
        let alerts = &self.config.alerts;
        let mut conn = pool.acquire().await?;
        let seconds = Duration::from_secs;
        let find = |subject: String, says: String, hint: &str| Finding {
            rule: rule.as_str(),
            subject,
            says,
            hint: hint.to_owned(),
            lasts: Duration::ZERO,
            measure: None,
        };
        Ok(match rule {
            Rule::AccountLost => {
                let all = health::list(&mut conn, None).await?;
                let say = |account: health::Health| {
                    let why = account.state_reason.unwrap_or_else(|| "Telegram gives no reason".into());
                    let says = format!("account {} is {}: {why}", account.label, account.state.as_str());
                    let hint = format!(
                        "sign in again (`telekeep account login --label {}`) or import a session of it; other accounts read its chats meanwhile where they can",
                        account.label
                    );
                    find(account.label, says, &hint)
                };
                all.into_iter().filter(health::Health::needs_sign_in).map(say).collect()
            }
            Rule::HolesStay => {
                let all = reconcile::lacking(&mut conn).await?.into_iter().filter(|it| it.missing + it.stale > 0);
                let stay = seconds(alerts.holes_stay_seconds);
                let say = |it: reconcile::Lacking| {
                    let says = format!(
                        "{} lacks {} ids ({} missing, {} stale), no fewer for {}",
                        chat(it.chat_id, it.title.as_deref()),
                        it.missing + it.stale,
                        it.missing,
                        it.stale,
                        duration(stay)
                    );
                    let hint = format!(
                        "`telekeep coverage {0}` says which and why; `telekeep job list --state held` what blocks; `telekeep collect {0}` fetches them",
                        it.chat_id
                    );
                    Finding { lasts: stay, measure: Some(it.missing + it.stale), ..find(it.chat_id.to_string(), says, &hint) }
                };
                all.map(say).collect()
            }
            Rule::ChatSilent => {
                signs::count_hours(&mut conn).await?;
                let all = signs::silent(&mut conn, alerts.silent_messages).await?;
                let say = |it: signs::Silent| {
                    let says = format!(
                        "{} is silent since {} UTC; by the same hours of the last weeks it would have had {:.0} messages, and it was never silent for so long",
                        chat(it.chat_id, it.title.as_deref()),
                        it.since.format("%Y-%m-%d %H:%M"),
                        it.expected
                    );
                    let hint = "look at the chat in Telegram; `telekeep account list` says whether its reader is well, `telekeep node list` whether a node listens";
                    find(it.chat_id.to_string(), says, hint)
                };
                all.into_iter().map(say).collect()
            }
            Rule::JobsWait => {
                drop(conn);
                let waits = queue::waits(pool).await.map_err(record_error)?;
                let first = waits.first().filter(|wait| wait.seconds > alerts.jobs_wait_seconds as f64);
                let say = |wait: &queue::Wait| {
                    let says = format!(
                        "the oldest job that could run (#{}, {}) waits for {}",
                        wait.job,
                        wait.kind,
                        duration(Duration::try_from_secs_f64(wait.seconds).unwrap_or_default())
                    );
                    let hint = "`telekeep node list` says whether a node works and has the account, `telekeep top` what keeps them busy; more nodes or a higher [worker] concurrency do more at once";
                    find("queue".into(), says, hint)
                };
                first.map(say).into_iter().collect()
            }
            Rule::ElasticsearchAway => {
                let away = gauge::sinks(&mut conn).await?.into_iter().filter(|sink| sink.state == "waiting");
                let lasts = seconds(alerts.elasticsearch_away_seconds);
                let say = |sink: gauge::SinkGauge| {
                    let says = format!("{} takes nothing for {}; the outbox keeps everything", sink.sink, duration(lasts));
                    let hint = "`telekeep doctor` says what it answers; collecting goes on meanwhile";
                    Finding { lasts, ..find(sink.sink, says, hint) }
                };
                away.map(say).collect()
            }
            Rule::DeadLetters => {
                let say = |sink: gauge::SinkGauge| {
                    let held = if sink.state == "held" { "; a kind of documents is held" } else { "" };
                    let says = format!("{} refuses {} documents{held}", sink.sink, sink.dead_letters);
                    find(
                        sink.sink,
                        says,
                        "`telekeep dead-letter list` says why; `telekeep migrate` or `telekeep reindex` mends mappings, `telekeep dead-letter retry` sends them again",
                    )
                };
                let sinks = gauge::sinks(&mut conn).await?.into_iter();
                sinks.filter(|sink| sink.dead_letters >= alerts.dead_letters.max(1) || sink.state == "held").map(say).collect()
            }
            Rule::DiskLow => {
                let free = |disk: &signs::Disk| 100.0 * disk.free as f64 / disk.size.max(1) as f64;
                let low =
                    signs::disks(&mut conn, DISKS_COUNT).await?.into_iter().filter(|disk| free(disk) < alerts.disk_free_percent);
                let say = |disk: signs::Disk| {
                    let says = format!(
                        "the disk of node {} with its {} has {:.1} % free ({} GiB)",
                        disk.node,
                        disk.role,
                        free(&disk),
                        disk.free >> 30
                    );
                    find(
                        format!("{} {}", disk.node, disk.role),
                        says,
                        "make room, or give [files] a quota_bytes or another store; a full disk holds files, nothing is lost",
                    )
                };
                let mut all: Vec<Finding> = low.map(say).collect();
                // Elasticsearch stops taking writes by its own watermark.
                let full = |sink: &gauge::SinkGauge| sink.detail.as_deref().is_some_and(|detail| detail.contains("flood-stage"));
                let hint = "make room on the disks of Elasticsearch; it takes writes again by itself";
                let sinks = gauge::sinks(&mut conn).await?.into_iter().filter(full);
                all.extend(sinks.map(|sink| {
                    find(sink.sink.clone(), format!("the disks of {} are over their flood-stage watermark", sink.sink), hint)
                }));
                all
            }
            Rule::LeasesRestless => {
                let within = seconds(alerts.lease_changes_within_seconds);
                let all = signs::restless(&mut conn, alerts.lease_changes.max(2), within).await?;
                let say = |it: signs::Restless| {
                    let says = format!(
                        "account {} was taken {} times within {}, by {}",
                        it.label,
                        it.taken,
                        duration(within),
                        it.nodes.join(", ")
                    );
                    find(
                        it.label,
                        says,
                        "a node that stalls, restarts or loses the database shows in its log and in `telekeep node list`; `telekeep account pin` keeps the account to one",
                    )
                };
                all.into_iter().map(say).collect()
            }
            Rule::SchemaNewer => {
                let all = signs::behind_the_schema(&mut conn).await?;
                let say = |(node, knows, schema): (String, i64, i64)| {
                    let says =
                        format!("node {node} runs a telekeep that knows migrations up to {knows}; the schema is at {schema}");
                    find(node, says, "install the newer telekeep there, and restart it")
                };
                all.into_iter().map(say).collect()
            }
        })
    }
}

fn record_error(error: queue::Error) -> sqlx::Error {
    match error {
        queue::Error::Database(error) => error,
        other => sqlx::Error::Protocol(other.to_string()),
    }
}

fn chat(id: i64, title: Option<&str>) -> String {
    title.map_or_else(|| format!("chat {id}"), |title| format!("chat {id} ({title})"))
}

/// For people: 45 s, 10 min, 3 h, 2 days.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes, for users that are not root.
    pub free: u64,
    /// Bytes.
    pub size: u64,
}

/// The disks of this node by what is on them; those that cannot be looked at are left out.
pub fn disks(config: &Config) -> Vec<(&'static str, DiskSpace)> {
    let store = config.files.store.as_deref().filter(|store| !store.contains("://")).map(PathBuf::from);
    let places = [("store", store), ("staging", config.files.staging.clone()), ("working folder", Some(PathBuf::from(".")))];
    places.into_iter().filter_map(|(role, path)| Some((role, space(&path?)?))).collect()
}

fn space(path: &Path) -> Option<DiskSpace> {
    // What is made at first use lies on its parent's disk.
    let there = path.ancestors().find(|it| it.exists()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(DiskSpace { free: stat.f_bavail * stat.f_frsize, size: stat.f_blocks * stat.f_frsize })
}
