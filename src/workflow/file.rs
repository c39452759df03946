//! Workflow files: read, checked whole, each fault with file and line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use telekeep_queue::Retry;

use super::{Allow, Joinable, Missed, Select, Step, Trigger, Workflow, Workflows};
use crate::{
    account::find,
    config::line_of,
    jobs::{Job, chat_join::ChatJoin, chat_leave::ChatLeave},
    record::event::EVENTS,
};

/// The kinds that a workflow needs leave for, and that it never has.
const JOINS: &str = ChatJoin::KIND;
const LEAVES: &str = ChatLeave::KIND;

/// What is wrong with a workflow file, and where: a user's mistake.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: {message}", path = path.display())]
pub struct WorkflowError {
    pub path: PathBuf,
    pub line: usize,
    pub message: String,
}

/// Every fault of a folder of workflows.
#[derive(Debug, thiserror::Error)]
pub struct WorkflowErrors(pub Vec<WorkflowError>);

impl fmt::Display for WorkflowErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    trigger: FileTrigger,
    #[serde(default)]
    select: Select,
    #[serde(default)]
    step: Vec<Spanned<FileStep>>,
    #[serde(default)]
    allow: FileAllow,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileAllow {
    #[serde(default)]
    join: Vec<Spanned<Joinable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileTrigger {
    cron: Option<FileCron>,
    listener: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCron {
    schedule: Spanned<String>,
    timezone: Option<Spanned<String>>,
    #[serde(default)]
    missed: Missed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStep {
    name: Spanned<String>,
    job: Spanned<String>,
    #[serde(default)]
    after: Vec<Spanned<String>>,
    priority: Option<Spanned<i16>>,
    retry: Option<Spanned<FileRetry>>,
    spread: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRetry {
    max_failures: i32,
    base: String,
    cap: String,
    #[serde(default)]
    jitter: f64,
}

/// All workflows of a folder's `*.toml`, or every fault in them. An absent folder holds none.
pub fn load(folder: &Path, kinds: &[&str]) -> Result<Workflows, WorkflowErrors> {
    let mut errors = Vec::new();
    let mut workflows = BTreeMap::new();
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            return Err(WorkflowErrors(vec![WorkflowError {
                path: folder.into(),
                line: 1,
                message: format!("cannot be listed: {e}"),
            }]));
        }
    };
    paths.sort();
    for path in paths {
        let parsed = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text, kinds),
            Err(e) => Err(vec![WorkflowError { path: path.clone(), line: 1, message: format!("cannot be read: {e}") }]),
        };
        match parsed {
            Ok(w) if workflows.contains_key(&w.name) => errors.push(WorkflowError {
                path,
                line: 1,
                message: format!("another file already holds a workflow named {:?}; rename one", w.name),
            }),
            Ok(w) => drop(workflows.insert(w.name.clone(), w)),
            Err(mut e) => errors.append(&mut e),
        }
    }
    if errors.is_empty() { Ok(workflows) } else { Err(WorkflowErrors(errors)) }
}

/// One file's workflow, or every fault in it. `kinds` are the job kinds that exist.
pub fn parse(path: &Path, text: &str, kinds: &[&str]) -> Result<Workflow, Vec<WorkflowError>> {
    let fault = |span: Option<std::ops::Range<usize>>, message: String| WorkflowError {
        path: path.to_owned(),
        line: line_of(text, span),
        message,
    };
    let file: File = toml::from_str(text).map_err(|e| vec![fault(e.span(), e.message().to_owned())])?;
    let mut errors = Vec::new();
    if file.name.get_ref().is_empty() || !file.name.get_ref().chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        errors.push(fault(
            Some(file.name.span()),
            format!("name {:?} is not made of letters, digits and dashes", file.name.get_ref()),
        ));
    }
    let trigger = match (file.trigger.cron, file.trigger.listener) {
        (None, None) => Trigger::Manual,
        (Some(_), Some(events)) => {
            let span = events.first().map(Spanned::span);
            errors.push(fault(span, "a workflow has one trigger: cron or listener, not both".into()));
            Trigger::Manual
        }
        (Some(cron), None) => {
            // The parser's own message points into the line with a picture of several lines.
            if cron.schedule.get_ref().parse::<cron::Schedule>().is_err() {
                let message =
                    format!("{:?} is not a cron line; six fields, seconds first, as \"0 0 3 * * *\"", cron.schedule.get_ref());
                errors.push(fault(Some(cron.schedule.span()), message));
            }
            let timezone = cron.timezone.map_or(Ok(chrono_tz::Tz::UTC), |zone| {
                zone.get_ref().parse().map_err(|_| {
                    fault(
                        Some(zone.span()),
                        format!("{:?} is not a time zone; write it as \"UTC\" or \"Europe/Berlin\"", zone.get_ref()),
                    )
                })
            });
            let timezone = timezone.unwrap_or_else(|e| {
                errors.push(e);
                chrono_tz::Tz::UTC
            });
            Trigger::Cron { schedule: cron.schedule.into_inner(), timezone, missed: cron.missed }
        }
        (None, Some(events)) => {
            for event in events.iter().filter(|e| !EVENTS.contains(&e.get_ref().as_str())) {
                errors.push(fault(
                    Some(event.span()),
                    format!("unknown event {:?}; known are {}", event.get_ref(), EVENTS.join(", ")),
                ));
            }
            Trigger::Listener(events.into_iter().map(Spanned::into_inner).collect())
        }
    };
    if file.step.is_empty() {
        errors.push(fault(Some(file.name.span()), "no [[step]]: a workflow needs at least one".into()));
    }
    let names: Vec<String> = file.step.iter().map(|s| s.get_ref().name.get_ref().clone()).collect();
    let mut seen = BTreeSet::new();
    let mut steps = Vec::new();
    let mut lines = BTreeMap::new();
    for step in file.step {
        let step = step.into_inner();
        let name = step.name.get_ref().clone();
        lines.insert(name.clone(), step.name.span());
        if !seen.insert(name.clone()) {
            errors.push(fault(Some(step.name.span()), format!("a second step is named {name:?}; rename one")));
        }
        if !kinds.contains(&step.job.get_ref().as_str()) {
            errors.push(fault(
                Some(step.job.span()),
                format!("unknown job {:?}; known are {}", step.job.get_ref(), kinds.join(", ")),
            ));
        }
        if step.job.get_ref() == JOINS && file.allow.join.is_empty() {
            let message = format!("a step {JOINS} joins nothing that the file does not name: add [allow] join = [\"@NAME\", ID]");
            errors.push(fault(Some(step.job.span()), message));
        }
        if step.job.get_ref() == LEAVES {
            errors.push(fault(Some(step.job.span()), format!("{LEAVES} is an operator's alone: `telekeep chat leave CHAT`")));
        }
        for after in step.after.iter().filter(|a| !names.contains(a.get_ref())) {
            errors.push(fault(
                Some(after.span()),
                format!("step {name:?} comes after {:?}, which is no step of this file", after.get_ref()),
            ));
        }
        if let Some(p) = step.priority.as_ref().filter(|p| !(1..=4).contains(p.get_ref())) {
            errors.push(fault(Some(p.span()), format!("priority {} is not from 1 (first) to 4 (last)", p.get_ref())));
        }
        let retry = step.retry.and_then(|r| {
            let span = r.span();
            retry(r.into_inner()).map_err(|message| errors.push(fault(Some(span), message))).ok()
        });
        let spread_seconds = step.spread.and_then(|s| {
            let told = duration(s.get_ref())
                .and_then(|d| u32::try_from(d.as_secs()).map_err(|_| format!("a spread of {:?} is too long", s.get_ref())));
            told.map_err(|message| errors.push(fault(Some(s.span()), message))).ok()
        });
        steps.push(Step {
            name,
            job: step.job.into_inner(),
            after: step.after.into_iter().map(Spanned::into_inner).collect(),
            priority: step.priority.map(Spanned::into_inner),
            retry,
            spread_seconds,
        });
    }
    if let Some(name) = in_a_cycle(&steps) {
        let span = lines.get(&name).cloned();
        errors.push(fault(span, format!("step {name:?} waits for itself: its `after` leads in a cycle; remove one of its links")));
    }
    for joinable in &file.allow.join {
        let valid = match joinable.get_ref() {
            Joinable::Id(id) => *id < 0,
            Joinable::Name(name) => matches!(find::target(name), Some(find::Target::Name(_))),
        };
        if !valid {
            let message = "not a chat that can be joined: write a public name as \"@NAME\", or an id as -1001234567890";
            errors.push(fault(Some(joinable.span()), message.into()));
        }
    }
    if errors.is_empty() {
        let allow = Allow { join: file.allow.join.into_iter().map(Spanned::into_inner).collect() };
        Ok(Workflow { name: file.name.into_inner(), description: file.description, trigger, select: file.select, steps, allow })
    } else {
        Err(errors)
    }
}

fn retry(file: FileRetry) -> Result<Retry, String> {
    let (base, cap) = (duration(&file.base)?, duration(&file.cap)?);
    if file.max_failures < 1 || cap < base || !(0.0..=1.0).contains(&file.jitter) {
        return Err("retry wants max_failures of at least 1, a cap not below its base, and a jitter from 0 to 1".into());
    }
    Ok(Retry { max_failures: file.max_failures, base, cap, jitter: file.jitter })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it as \"30s\", \"5m\" or \"1h\"");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

/// The first step whose `after` leads back to it.
fn in_a_cycle(steps: &[Step]) -> Option<String> {
    let mut done = BTreeSet::new();
    while done.len() < steps.len() {
        let ready: Vec<&str> = steps
            .iter()
            .filter(|s| {
                !done.contains(s.name.as_str())
                    && s.after.iter().all(|a| done.contains(a.as_str()) || !steps.iter().any(|s| s.name == *a))
            })
            .map(|s| s.name.as_str())
            .collect();
        if ready.is_empty() {
            // What is left waits; walk back until a step repeats: that one is in the cycle.
            let mut path = Vec::new();
            let mut at = steps.iter().find(|s| !done.contains(s.name.as_str()))?;
            while !path.contains(&at.name) {
                path.push(at.name.clone());
                at = at.after.iter().filter(|a| !done.contains(a.as_str())).find_map(|a| steps.iter().find(|s| s.name == *a))?;
            }
            return Some(at.name.clone());
        }
        done.extend(ready);
        // Names that stand twice are told of elsewhere; here they must only not loop.
        if steps.iter().map(|s| &s.name).collect::<BTreeSet<_>>().len() == done.len() {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[&str] = &["chat_refresh", "history_fetch"];
    const GOOD: &str = r#"name = "nightly"
[trigger.cron]
schedule = "0 0 3 * * *"
[[step]]
name = "refresh"
job = "chat_refresh"
[[step]]
name = "history"
job = "history_fetch"
after = ["refresh"]
retry = { max_failures = 8, base = "5s", cap = "1h", jitter = 0.2 }
"#;

    fn faults(text: &str) -> String {
        WorkflowErrors(parse(Path::new("workflows/nightly.toml"), text, KINDS).unwrap_err()).to_string()
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let workflow = parse(Path::new("x"), GOOD, KINDS).unwrap();
        assert_eq!(workflow.steps[1].after, ["refresh"]);
        assert_eq!(workflow.steps[1].retry.unwrap().cap, Duration::from_secs(3600));
    }

    #[test]
    fn a_spread_is_a_duration() {
        let spread = |told: &str| GOOD.replace("job = \"chat_refresh\"", &format!("job = \"chat_refresh\"\nspread = \"{told}\""));
        assert_eq!(parse(Path::new("x"), &spread("3h"), KINDS).unwrap().steps[0].spread_seconds, Some(10_800));
        insta::assert_snapshot!(faults(&spread("soon")), @r#"
        workflows/nightly.toml:7: "soon" is not a duration; write it as "30s", "5m" or "1h"
        "#);
        insta::assert_snapshot!(faults(&spread("9999999h")), @r#"
        workflows/nightly.toml:7: a spread of "9999999h" is too long
        "#);
    }

    #[test]
    fn an_unknown_job_is_named_with_its_line() {
        insta::assert_snapshot!(faults(&GOOD.replace("\"chat_refresh\"", "\"chat_refesh\"")), @r#"workflows/nightly.toml:6: unknown job "chat_refesh"; known are chat_refresh, history_fetch"#);
    }

    #[test]
    fn a_cycle_is_named_with_its_line() {
        let text = GOOD.replace("job = \"chat_refresh\"", "job = \"chat_refresh\"\nafter = [\"history\"]");
        insta::assert_snapshot!(faults(&text), @r#"workflows/nightly.toml:5: step "refresh" waits for itself: its `after` leads in a cycle; remove one of its links"#);
    }

    #[test]
    fn a_bad_cron_line_is_named_with_its_line() {
        let text = faults(&GOOD.replace("0 0 3 * * *", "0 0 25 * * *"));
        assert!(text.starts_with("workflows/nightly.toml:3: \"0 0 25 * * *\" is not a cron line"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        insta::assert_snapshot!(faults(&GOOD.replace("after = [", "afer = [")), @r#"workflows/nightly.toml:10: unknown field `afer`, expected one of `name`, `job`, `after`, `priority`, `retry`, `spread`"#);
    }
}
