//! The metrics: an explicit list, and how each is recorded. Labels are few and bounded; no chat, user or file name is ever one.

mod list;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

pub use list::*;

/// A gauge that nobody has set for so long is gone: another node tells it now, or what it told of is no more.
const GAUGE_KEPT: Duration = Duration::from_secs(45);
/// Upper bounds of durations, in seconds: from a commit to the longest slice of a job.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0];

static METADATA: Metadata<'static> = Metadata::new("telekeep", Level::INFO, Some("telekeep"));
static RENDERED_BY: OnceLock<PrometheusHandle> = OnceLock::new();

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// Only up, until the process ends.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts in buckets, with their sum.
    Histogram,
}

impl Moves {
    /// As Prometheus names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Who tells a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Each process, of itself.
    ByEach,
    /// One process at a time for all nodes, read from the record by the sampler.
    ByOne,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub moves: Moves,
    pub told: Told,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Metric {
    const fn new(name: &'static str, moves: Moves, told: Told, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, moves, told, labels, help }
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "the labels of {}", self.name);
        let labels = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }

    /// Its counter under these values of its labels. Counters that move often are kept by whoever moves them.
    pub fn counter(&self, values: &[&str]) -> metrics::Counter {
        debug_assert_eq!(self.moves, Moves::Counter, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// Counts.
    pub fn add(&self, count: u64, values: &[&str]) {
        self.counter(values).increment(count);
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64, values: &[&str]) {
        debug_assert_eq!(self.moves, Moves::Gauge, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA)).set(value);
    }

    /// Notes how long something took.
    pub fn took(&self, time: Duration, values: &[&str]) {
        debug_assert_eq!(self.moves, Moves::Histogram, "{}", self.name);
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA)).record(time.as_secs_f64());
    }
}

/// Begins to keep metrics in this process; before, and without, each costs next to nothing. Twice is once.
pub fn keep() {
    if RENDERED_BY.get().is_some() {
        return;
    }
    let builder = PrometheusBuilder::new()
        .idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_KEPT))
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
    let recorder = match builder {
        Ok(builder) => builder.build_recorder(),
        Err(error) => return tracing::error!(%error, "no metrics are kept"),
    };
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        return;
    }
    for metric in ALL {
        let (name, help) = (metric.name, metric.help);
        match metric.moves {
            Moves::Counter => metrics::describe_counter!(name, help),
            Moves::Gauge => metrics::describe_gauge!(name, help),
            Moves::Histogram => metrics::describe_histogram!(name, help),
        }
        // What has not happened yet is 0, not unknown.
        if metric.labels.is_empty() && metric.moves == Moves::Counter && metric.told == Told::ByEach {
            metric.add(0, &[]);
        }
    }
    let _ = RENDERED_BY.set(handle);
}

/// All metrics in Prometheus' text format; nothing where none are kept.
pub fn render() -> String {
    RENDERED_BY.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what histograms have gathered; to be called now and then.
pub(super) fn fold() {
    if let Some(handle) = RENDERED_BY.get() {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    /// What a label may be: each has few values.
    const LABELS: [&str; 7] = ["account", "kind", "method", "node", "outcome", "sink", "state"];

    fn read(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    fn sources(folder: &Path, all: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                sources(&entry, all);
            } else {
                all.push((entry.display().to_string(), std::fs::read_to_string(&entry).unwrap()));
            }
        }
    }

    #[test]
    fn the_list_and_the_document_say_the_same() {
        let document = read("docs/METRICS.md");
        let rows = document.lines().filter(|line| line.starts_with("| `")).map(|line| {
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[0].clone(), cells[1..].join(" | "))
        });
        let documented: BTreeMap<String, String> = rows.collect();
        let listed: BTreeMap<String, String> = ALL
            .iter()
            .map(|metric| {
                let told = if metric.told == Told::ByEach { "each process" } else { "one for all" };
                let labels = if metric.labels.is_empty() { "–".into() } else { metric.labels.join(", ") };
                (metric.name.to_owned(), format!("{} | {labels} | {told} | {}", metric.moves.as_str(), metric.help))
            })
            .collect();
        assert_eq!(documented, listed);
    }

    #[test]
    fn names_are_sound_labels_bounded_and_each_metric_is_recorded_somewhere() {
        let mut all = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        let list = read("src/telemetry/metrics/list.rs");
        all.retain(|(path, _)| !path.ends_with("metrics/list.rs"));
        let constants: Vec<&str> = list
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": Metric ="))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(constants.len(), ALL.len(), "each constant stands in ALL");
        for constant in constants {
            assert!(list.contains(&format!("&{constant},")), "{constant} stands in ALL");
            let recorded = ["add", "set", "took", "counter"].map(|verb| format!("{constant}.{verb}("));
            let here = |text: &str| {
                let text: String = text.split_whitespace().collect();
                recorded.iter().any(|call| text.contains(call))
            };
            assert!(all.iter().any(|(_, text)| here(text)), "{constant} is recorded nowhere");
        }
        // Names are given in the list alone.
        let facade = ["counter!(", "gauge!(", "histogram!("];
        let astray =
            all.iter().filter(|(path, text)| !path.ends_with("telemetry/metrics.rs") && facade.iter().any(|it| text.contains(it)));
        assert_eq!(astray.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<&String>::new());
        let mut names = BTreeSet::new();
        for metric in ALL {
            assert!(names.insert(metric.name), "{} stands twice", metric.name);
            assert!(metric.name.starts_with("telekeep_") || metric.name.starts_with("process_"), "{}", metric.name);
            assert_eq!(metric.moves == Moves::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.moves == Moves::Histogram, metric.name.ends_with("_duration_seconds"), "{}", metric.name);
            for label in metric.labels {
                assert!(LABELS.contains(label), "{label} of {}", metric.name);
            }
        }
    }
}
