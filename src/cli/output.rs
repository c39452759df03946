//! What commands print: tables for people, JSON for programs, progress on standard error.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

/// Prints a table with these headings; nothing but a line where there are no rows.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>, empty: &str) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(headings);
    let mut count = 0;
    for row in rows {
        table.add_row(row);
        count += 1;
    }
    line(&if count == 0 { empty.to_owned() } else { table.to_string() });
}

/// Prints one JSON value.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Prints a line; a reader that went away (as `head` does) ends the process quietly.
pub fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// A bar with rate and remaining time, on standard error; hidden where that is no terminal.
pub fn bar(total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = format!("{{msg}} [{{bar:30}}] {{pos}}/{{len}} {unit} ({{rate}}/s, {{eta}} left)");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        bar.set_style(style.progress_chars("=> ").with_key("rate", rate));
    }
    bar
}

/// A line on standard error that changes, for work whose end cannot be counted; hidden where that is no terminal.
pub fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
