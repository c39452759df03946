//! What needs attention, the worst first, each with what to do about it. It is judged here alone: `telekeep top`, the API and the
//! overview page tell it in the same words. Reading only.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::PgPool;
use telekeep_queue as queue;

use super::Error;
use crate::MIGRATOR;
use crate::alert::rules::Rule;
use crate::clock;
use crate::config::Alerts;
use crate::record::{
    self, SchemaState, alert, gauge,
    health::{self, Fares, Health},
    node::{self, Node},
    signs,
    statistics::{self, Stuck},
    workflow::{self, PauseRow},
};

/// Reasons that are told of jobs that wait for the operator.
const REASONS: i64 = 20;
/// Incidents of one rule that are told one by one: the newest.
const OF_A_RULE: usize = 10;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is lost or stands still.
    Critical,
    /// Something waits for the operator.
    Warning,
    /// Somebody wanted it so.
    Notice,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Attention {
    pub severity: Severity,
    /// What it is about: account, alert_target, chat, dead_letter, disk, job, kind, node, queue, schema, sink, workflow; incident where
    /// a newer version found it.
    pub about: String,
    /// Of an open incident: the rule that found it.
    pub rule: Option<String>,
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// Since when it is so, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// How many there are.
    pub count: i64,
    /// The account, chat, workflow, kind, node, sink or job that it is; of several jobs the newest.
    pub target: Option<String>,
}

impl fmt::Display for Attention {
    /// One line, without anything in it that a terminal would take for an order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.map(|at| format!(" (since {} UTC)", at.format("%F %H:%M"))).unwrap_or_default();
        let line = format!("{}: {}{since}. {}", self.severity.as_str(), self.what, self.hint);
        f.write_str(&line.replace(|c: char| c.is_control(), " "))
    }
}

/// What is looked at.
#[derive(Debug)]
pub struct Seen {
    /// Open ones, newest first.
    pub incidents: Vec<alert::Incident>,
    pub deaf_targets: Vec<alert::Deaf>,
    pub accounts: Vec<Health>,
    pub nodes: Vec<Node>,
    pub sinks: Vec<gauge::SinkGauge>,
    pub stuck: Vec<Stuck>,
    /// Longest first.
    pub waits: Vec<queue::Wait>,
    pub paused_kinds: Vec<String>,
    pub paused_workflows: Vec<PauseRow>,
    pub schema: SchemaState,
    /// Nodes whose binary does not know the newest migration: name, its migration, the schema's.
    pub behind_the_schema: Vec<(String, i64, i64)>,
}

impl Seen {
    /// Reads it. Each is a look at small tables and indices.
    pub async fn read(pool: &PgPool) -> Result<Self, Error> {
        let mut conn = pool.acquire().await?;
        let incidents = alert::list(&mut conn, None).await?;
        let deaf_targets = alert::deaf(&mut conn).await?;
        let accounts = health::list(&mut conn, None).await?;
        let sinks = gauge::sinks(&mut conn).await?;
        let behind_the_schema = signs::behind_the_schema(&mut conn).await?;
        let paused_workflows = workflow::paused(&mut conn).await?;
        // Nobody holds one connection while waiting for another.
        drop(conn);
        Ok(Self {
            incidents,
            deaf_targets,
            accounts,
            nodes: node::list(pool).await?,
            sinks,
            stuck: statistics::stuck(pool, REASONS).await?,
            waits: queue::waits(pool).await?,
            paused_kinds: queue::paused_kinds(pool).await?,
            paused_workflows,
            schema: record::schema_state(pool, &MIGRATOR).await?,
            behind_the_schema,
        })
    }

    /// What of it needs attention, the worst first. What an open incident tells already is not told again.
    pub fn attention(&self, alerts: &Alerts) -> Vec<Attention> {
        let mut all = self.incidents();
        all.extend(self.schema());
        all.extend(self.accounts());
        all.extend(self.waiting(alerts));
        all.extend(self.sinks());
        all.extend(self.silent_nodes());
        all.extend(self.stuck.iter().map(stuck));
        all.extend(self.dead_letters());
        all.extend(self.deaf_targets.iter().map(deaf));
        if !self.nodes.iter().any(|node| node.state == "works") {
            all.push(warning("node", "no node works", "`telekeep run` starts one"));
        }
        all.extend(self.paused());
        all.sort_by_key(|it| it.severity);
        all
    }

    fn is_told(&self, rule: Rule, subject: &str) -> bool {
        self.incidents.iter().any(|it| it.rule == rule.as_str() && it.subject == subject)
    }

    fn incidents(&self) -> Vec<Attention> {
        let mut of_rule = BTreeMap::<&str, i64>::new();
        let mut all = Vec::new();
        for it in &self.incidents {
            let told = of_rule.entry(&it.rule).or_default();
            *told += 1;
            if *told <= OF_A_RULE as i64 {
                all.push(incident(it));
            }
        }
        for (rule, count) in of_rule.into_iter().filter(|(_, count)| *count > OF_A_RULE as i64) {
            let (severity, about) = matters(rule);
            let more = count - OF_A_RULE as i64;
            all.push(Attention {
                severity,
                rule: Some(rule.to_owned()),
                count: more,
                ..warning(about, format!("{rule}: {more} more incidents are open"), "`telekeep alert list` shows all of them")
            });
        }
        all
    }

    fn schema(&self) -> Vec<Attention> {
        let mut all = Vec::new();
        if !self.schema.is_current() {
            // It is said with its remedy behind the colon.
            let told = self.schema.to_string();
            let (what, hint) = told.split_once(": ").unwrap_or((&told, "`telekeep doctor` says more"));
            all.push(critical("schema", what, hint));
        }
        let behind = self.behind_the_schema.iter().filter(|(node, ..)| !self.is_told(Rule::SchemaNewer, node));
        all.extend(behind.map(|(node, knows, schema)| {
            let what = format!("node {node} runs a telekeep that knows migrations up to {knows}; the schema is at {schema}");
            Attention { target: Some(node.clone()), ..critical("schema", what, "install the newer telekeep there, and restart it") }
        }));
        all
    }

    fn accounts(&self) -> impl Iterator<Item = Attention> {
        self.accounts.iter().filter(|it| !self.is_told(Rule::AccountLost, &it.label)).filter_map(account)
    }

    fn waiting(&self, alerts: &Alerts) -> Option<Attention> {
        let longest = self.waits.first().filter(|wait| wait.seconds > alerts.jobs_wait_seconds as f64)?;
        if self.is_told(Rule::JobsWait, "queue") {
            return None;
        }
        let what = format!("a job that could run (#{}, {}) waits for {:.0} min", longest.job, longest.kind, longest.seconds / 60.0);
        let hint = "`telekeep node list` says whether a node works and has the account, `telekeep top` what keeps them busy";
        let since = clock::now() - TimeDelta::milliseconds((longest.seconds * 1_000.0) as i64);
        Some(Attention { since: Some(since), ..critical("queue", what, hint) })
    }

    fn sinks(&self) -> impl Iterator<Item = Attention> {
        // That one is held is told by its dead letters.
        let rule = |state: &str| if state == "held" { Rule::DeadLetters } else { Rule::ElasticsearchAway };
        let away = self.sinks.iter().filter(move |it| it.state != "active" && !self.is_told(rule(&it.state), &it.sink));
        away.map(|it| {
            let detail = it.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let what = format!("{} is {}{detail}", it.sink, it.state);
            let hint = "`telekeep doctor` says what it answers; the record keeps everything meanwhile";
            let since = clock::now() - TimeDelta::milliseconds((it.for_s * 1_000.0) as i64);
            Attention { since: Some(since), target: Some(it.sink.clone()), ..critical("sink", what, hint) }
        })
    }

    fn dead_letters(&self) -> impl Iterator<Item = Attention> {
        let refused = self.sinks.iter().filter(|it| it.dead_letters > 0 && !self.is_told(Rule::DeadLetters, &it.sink));
        refused.map(|it| {
            let what = format!("{} refuses {} documents", it.sink, it.dead_letters);
            let hint = "`telekeep dead-letter list` says why, `telekeep dead-letter retry` sends them again";
            Attention { count: it.dead_letters, target: Some(it.sink.clone()), ..warning("dead_letter", what, hint) }
        })
    }

    fn silent_nodes(&self) -> impl Iterator<Item = Attention> {
        // One that was started again is nobody's concern.
        let works = |name: &str| self.nodes.iter().any(|it| it.state == "works" && it.name == name);
        self.nodes.iter().filter(move |it| it.state == "silent" && !works(&it.name)).map(|it| {
            let what = format!("node {} fell silent without ending", it.name);
            let hint = "see whether it runs, and start it again; the others take its accounts over";
            Attention { since: Some(it.seen_at), target: Some(it.name.clone()), ..critical("node", what, hint) }
        })
    }

    fn paused(&self) -> Vec<Attention> {
        let kind = |kind: &String| Attention {
            severity: Severity::Notice,
            target: Some(kind.clone()),
            ..warning("kind", format!("{kind} is paused"), format!("`telekeep job resume-kind {kind}` lets it go on"))
        };
        let workflow = |it: &PauseRow| {
            let why = it.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Attention {
                severity: Severity::Notice,
                since: Some(it.created_at),
                target: Some(it.workflow.clone()),
                ..warning(
                    "workflow",
                    format!("workflow {} is paused{why}", it.workflow),
                    format!("`telekeep workflow resume {}` lets it go on", it.workflow),
                )
            }
        };
        self.paused_kinds.iter().map(kind).chain(self.paused_workflows.iter().map(workflow)).collect()
    }
}

fn warning(about: &str, what: impl Into<String>, hint: impl Into<String>) -> Attention {
    Attention {
        severity: Severity::Warning,
        about: about.to_owned(),
        rule: None,
        what: what.into(),
        hint: hint.into(),
        since: None,
        count: 1,
        target: None,
    }
}

fn critical(about: &str, what: impl Into<String>, hint: impl Into<String>) -> Attention {
    Attention { severity: Severity::Critical, ..warning(about, what, hint) }
}

/// How much an incident of a rule matters, and what it is about. A rule of a newer version is not known here.
fn matters(rule: &str) -> (Severity, &'static str) {
    match Rule::ALL.into_iter().find(|it| it.as_str() == rule) {
        Some(Rule::AccountLost) => (Severity::Critical, "account"),
        Some(Rule::HolesStay | Rule::ChatSilent) => (Severity::Warning, "chat"),
        Some(Rule::JobsWait) => (Severity::Critical, "queue"),
        Some(Rule::ElasticsearchAway) => (Severity::Critical, "sink"),
        Some(Rule::DeadLetters) => (Severity::Warning, "dead_letter"),
        Some(Rule::DiskLow) => (Severity::Critical, "disk"),
        Some(Rule::LeasesRestless) => (Severity::Warning, "account"),
        Some(Rule::SchemaNewer) => (Severity::Critical, "schema"),
        None => (Severity::Warning, "incident"),
    }
}

fn incident(it: &alert::Incident) -> Attention {
    let (severity, about) = matters(&it.rule);
    Attention {
        severity,
        rule: Some(it.rule.clone()),
        since: Some(it.opened_at),
        target: Some(it.subject.clone()),
        ..warning(about, &it.says, &it.hint)
    }
}

fn account(it: &Health) -> Option<Attention> {
    let (severity, hint) = match it.state {
        Fares::Lost | Fares::Held if it.needs_sign_in() => {
            (Severity::Critical, format!("sign in again (`telekeep account login --label {}`) or import a session of it", it.label))
        }
        Fares::Held => (Severity::Warning, format!("mend what the reason says, then `telekeep account release {}`", it.label)),
        Fares::Limited => (Severity::Warning, "nothing is to be done: it goes on by itself".to_owned()),
        // One that somebody signed out, and those that work.
        Fares::Lost | Fares::Active | Fares::Flooded => return None,
    };
    let why = it.state_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let what = format!("account {} is {}{why}", it.label, it.state.as_str());
    // When it became limited is not kept.
    let since = (it.state != Fares::Limited).then_some(it.state_at);
    Some(Attention { severity, since, target: Some(it.label.clone()), ..warning("account", what, hint) })
}

fn stuck(it: &Stuck) -> Attention {
    let error = it.error.as_ref().map(|error| format!("; the newest says: {error}")).unwrap_or_default();
    let what = format!("{} jobs of {}: {}{error}", it.state, it.kind, it.jobs);
    let hint = it.hint.clone().unwrap_or_else(|| format!("look at the error, then `telekeep job retry {}`", it.job));
    Attention { since: it.since, count: it.jobs, target: Some(it.job.to_string()), ..warning("job", what, hint) }
}

fn deaf(it: &alert::Deaf) -> Attention {
    let why = it.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let what = format!("alert target {} does not take messages, {} wait{why}", it.target, it.waiting);
    let hint = format!("`telekeep alert test {}` tries it", it.target);
    Attention { count: it.waiting, target: Some(it.target.clone()), ..warning("alert_target", what, hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(id: i64, rule: &str, subject: &str) -> alert::Incident {
        alert::Incident {
            id,
            rule: rule.into(),
            subject: subject.into(),
            says: format!("{subject} is not as it should be"),
            hint: "mend it".into(),
            opened_at: DateTime::UNIX_EPOCH,
            closed_at: None,
        }
    }

    fn seen() -> Seen {
        Seen {
            incidents: Vec::new(),
            deaf_targets: Vec::new(),
            accounts: Vec::new(),
            nodes: Vec::new(),
            sinks: Vec::new(),
            stuck: Vec::new(),
            waits: Vec::new(),
            paused_kinds: Vec::new(),
            paused_workflows: Vec::new(),
            schema: SchemaState::Current,
            behind_the_schema: Vec::new(),
        }
    }

    #[test]
    fn the_worst_stands_first_and_what_an_incident_tells_is_told_once() {
        let sink = gauge::SinkGauge {
            sink: "elasticsearch".into(),
            state: "waiting".into(),
            detail: Some("no answer".into()),
            for_s: 60.0,
            dead_letters: 3,
        };
        let stuck = Stuck {
            kind: "history_fetch".into(),
            state: "held".into(),
            hint: Some("sign in an account".into()),
            error: Some("no\u{1b}[31m account".into()),
            jobs: 2,
            job: 9,
            since: None,
        };
        let wait = queue::Wait { partition: 0, job: 7, kind: "chat_refresh".into(), seconds: 1_200.0 };
        let mut seen = Seen {
            sinks: vec![sink],
            stuck: vec![stuck],
            waits: vec![wait],
            paused_kinds: vec!["file_download".into()],
            schema: SchemaState::Dirty { version: 5 },
            behind_the_schema: vec![("old".into(), 1, 5)],
            ..seen()
        };
        let lines = |seen: &Seen, alerts: &Alerts| seen.attention(alerts).iter().map(ToString::to_string).collect::<Vec<_>>();
        let told = lines(&seen, &Alerts::default());
        let begin = [
            "critical: migration 5 began and did not finish. mend the database, then run `telekeep migrate`",
            "critical: node old runs a telekeep that knows migrations up to 1; the schema is at 5",
            "critical: a job that could run (#7, chat_refresh) waits for 20 min (since ",
            "critical: elasticsearch is waiting: no answer (since ",
            "warning: held jobs of history_fetch: 2; the newest says: no [31m account. sign in an account",
            "warning: elasticsearch refuses 3 documents. `telekeep dead-letter list`",
            "warning: no node works. `telekeep run` starts one",
            "notice: file_download is paused. `telekeep job resume-kind file_download`",
        ];
        assert_eq!(told.len(), begin.len(), "{told:#?}");
        for (line, begins) in told.iter().zip(begin) {
            assert!(line.starts_with(begins), "{line}");
        }
        let patient = Alerts { jobs_wait_seconds: 3_600, ..Alerts::default() };
        assert!(!lines(&seen, &patient).iter().any(|line| line.contains("waits for")));

        seen.incidents = vec![open(4, "dead_letters", "elasticsearch")];
        let all = seen.attention(&Alerts::default());
        assert!(all.iter().any(|it| it.about == "sink"), "that documents are refused does not tell that it is away");
        seen.incidents = vec![
            open(4, "dead_letters", "elasticsearch"),
            open(3, "jobs_wait", "queue"),
            open(2, "elasticsearch_away", "elasticsearch"),
            open(1, "schema_newer", "old"),
        ];
        let all = seen.attention(&Alerts::default());
        for about in ["queue", "sink", "dead_letter"] {
            let of: Vec<_> = all.iter().filter(|it| it.about == about).collect();
            assert!(of.len() == 1 && of[0].rule.is_some() && of[0].since.is_some(), "{about}: {of:?}");
        }
        assert_eq!(all.iter().filter(|it| it.about == "schema").count(), 2, "the incident and the failed migration");
    }

    #[test]
    fn of_many_incidents_of_a_rule_the_newest_are_told_and_how_many_more_there_are() {
        let incidents = (0..1_000).map(|n| open(n, "holes_stay", &n.to_string())).chain([open(1_000, "of_a_newer_version", "x")]);
        let all = Seen { incidents: incidents.collect(), ..seen() }.attention(&Alerts::default());
        let holes: Vec<_> = all.iter().filter(|it| it.rule.as_deref() == Some("holes_stay")).collect();
        assert_eq!((holes.len(), holes[OF_A_RULE].count, holes[OF_A_RULE].target.as_deref()), (OF_A_RULE + 1, 990, None));
        assert!(all.iter().any(|it| it.about == "incident" && it.what.starts_with("x is not")));
    }
}
