//! `telekeep workflow show`: one workflow, for people.

use std::collections::BTreeMap;

use crate::{
    cli::output,
    workflow::{
        Step,
        view::{RunView, View},
    },
};

/// The headings of a table of runs.
pub const RUNS: &[&str] = &["run", "workflow", "chat", "trigger", "tick", "state"];

/// A run in a table.
pub fn run(view: &RunView) -> Vec<String> {
    let run = &view.run;
    vec![
        run.id.to_string(),
        run.workflow.clone(),
        run.chat_id.to_string(),
        run.trigger.clone(),
        run.tick.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        run.state.clone(),
    ]
}

/// Says which held jobs block these runs.
pub fn blocked(runs: &[RunView]) {
    for view in runs {
        for held in &view.held {
            let error = held.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
            output::line(&format!("run {} waits for job {} ({}), which is held{error}", view.run.id, held.job, held.kind));
            output::line(&format!("  to do: {}", held.hint.as_deref().unwrap_or("`telekeep job release` lets it run again")));
        }
    }
}

/// Prints one workflow as it stands.
pub fn print(view: &View<'_>) {
    let line = |name: &str, text: &str| output::line(&format!("{name:<10}{text}"));
    output::line(&format!("{}: {}", view.name, view.description));
    line("trigger", &view.trigger.to_string());
    let ticks: Vec<String> = view.next_ticks.iter().map(|t| t.format("%F %T").to_string()).collect();
    if !ticks.is_empty() {
        line("next", &format!("{} (UTC)", ticks.join(", ")));
    }
    if let Some(pause) = &view.paused {
        let reason = pause.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        line("paused", &format!("since {}{reason}", pause.created_at.format("%F %T")));
    }
    line("chats", &format!("{} now ({})", view.selected_chats, view.select));
    if view.waiting_chats > 0 {
        line("waiting", &format!("events of {} chats, for the end of an open run or of the pause", view.waiting_chats));
    }
    for (n, drawn) in draw(&view.steps).iter().enumerate() {
        line(if n == 0 { "steps" } else { "" }, drawn);
    }
    let jobs: Vec<String> = view.jobs.iter().map(|(state, n)| format!("{n} {state}")).collect();
    line("jobs", if jobs.is_empty() { "none yet".into() } else { jobs.join(", ") }.as_str());
    let rows = view.runs.iter().map(|r| {
        let mut row = run(r);
        row.remove(1);
        row.push(steps(r, &view.steps));
        row
    });
    output::table(&["run", "chat", "trigger", "tick", "state", "steps"], rows, "no runs yet");
    blocked(&view.runs);
}

fn steps(run: &RunView, order: &[&Step]) -> String {
    if run.run.state == "skipped" {
        return "a run was still open".into();
    }
    let mut rows: Vec<_> = run.steps.iter().collect();
    rows.sort_by_key(|row| order.iter().position(|s| s.name == row.step));
    let told = rows.iter().map(|s| match s.unfinished {
        0 => format!("{} {}", s.step, s.state),
        n => format!("{} {} ({n} left)", s.step, s.state),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The steps as a tree: each below the last of those that it waits for.
fn draw(steps: &[&Step]) -> Vec<String> {
    let mut depth: BTreeMap<&str, usize> = BTreeMap::new();
    let mut drawn = Vec::new();
    for step in steps {
        let level = step.after.iter().filter_map(|a| depth.get(a.as_str())).max().map_or(0, |above| above + 1);
        depth.insert(&step.name, level);
        let branch = if level == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(level - 1)) };
        let mut text = format!("{branch}{}: {}", step.name, step.job);
        if step.after.len() > 1 {
            text.push_str(&format!(", after {}", step.after.join(" and ")));
        }
        if let Some(priority) = step.priority {
            text.push_str(&format!(", priority {priority}"));
        }
        if let Some(retry) = step.retry {
            text.push_str(&format!(", fails {} times at most", retry.max_failures));
        }
        if let Some(spread) = step.spread_seconds {
            text.push_str(&format!(", spread over {} min", spread / 60));
        }
        drawn.push(text);
    }
    drawn
}
