//! Drawings as SVG: bars, steps, squares. They hold numbers and escaped names only, and have no style of their own: classes have it.

use std::fmt::Write;

use crate::http::api::workflow::StepShown;
use crate::record::coverage_bar::{Bar, Part};
use crate::record::statistics::Hour;

/// Height of bars, in the drawing's own units.
const HIGH: i64 = 100;

/// A text as it may stand in SVG.
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

/// Messages of each hour, as bars.
pub fn hours(hours: &[Hour]) -> String {
    let most = hours.iter().map(|hour| hour.messages).max().unwrap_or(0).max(1);
    let wide = i64::try_from(hours.len()).unwrap_or(1) * 10;
    let all: i64 = hours.iter().map(|hour| hour.messages).sum();
    let mut svg = format!(
        "<svg class=\"hours\" viewBox=\"0 0 {wide} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Messages by hour over the last day: {all} in all, at most {most} in an hour\">"
    );
    for (place, hour) in hours.iter().enumerate() {
        let high = (hour.messages * HIGH / most).max(i64::from(hour.messages > 0));
        let (x, y) = (place * 10, HIGH - high);
        let (at, messages, jobs) = (hour.at.format("%H:%M"), hour.messages, hour.jobs);
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{high}\"><title>{at} UTC: {messages} messages, {jobs} jobs ended</title></rect>"
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What a part of a bar is made of, from the bottom up, by the names of its classes.
fn made_of(part: &Part) -> [(&'static str, i64); 8] {
    [
        ("collected", part.collected),
        ("deleted", part.deleted),
        ("empty", part.empty),
        ("inaccessible", part.inaccessible),
        ("lost", part.lost),
        ("dead", part.dead),
        ("stale", part.stale),
        ("missing", part.missing),
    ]
}

/// A chat's coverage: the oldest ids on the left. What is there at all is seen, however little it is.
pub fn coverage(bar: &Bar) -> String {
    let wide = i64::try_from(bar.parts.len()).unwrap_or(1).max(1) * 10;
    let mut sums: Vec<(&str, i64)> = Vec::new();
    let mut rects = String::new();
    for (place, part) in bar.parts.iter().enumerate() {
        let ids = (part.to - part.from + 1).max(1);
        let mut top = HIGH;
        let mut told = format!("{} to {}", part.from, part.to);
        for (name, count) in made_of(part).into_iter().filter(|(_, count)| *count > 0) {
            let high = i64::try_from(i128::from(count) * i128::from(HIGH) / i128::from(ids)).unwrap_or(HIGH).clamp(3, HIGH);
            let y = (top - high).max(0);
            let _ = write!(rects, "<rect class=\"{name}\" x=\"{}\" y=\"{y}\" width=\"10\" height=\"{high}\"/>", place * 10);
            top = y;
            let _ = write!(told, ", {count} {name}");
            match sums.iter_mut().find(|(it, _)| *it == name) {
                Some((_, sum)) => *sum += count,
                None => sums.push((name, count)),
            }
        }
        let x = place * 10;
        let _ = write!(rects, "<rect class=\"over\" x=\"{x}\" y=\"0\" width=\"10\" height=\"{HIGH}\"><title>{told}</title></rect>");
    }
    let told: Vec<String> = sums.iter().map(|(name, sum)| format!("{sum} {name}")).collect();
    let told = told.join(", ");
    format!(
        "<svg class=\"coverage\" viewBox=\"0 0 {wide} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Coverage: {told}\">{rects}</svg>"
    )
}

/// The steps of a workflow: each right of those that it waits for.
pub fn steps(steps: &[StepShown]) -> String {
    let mut columns: Vec<i64> = Vec::new();
    // Steps come in an order in which they may run: what a step waits for has its column already.
    for step in steps {
        let before = steps.iter().zip(&columns).filter(|(it, _)| step.after.contains(&it.name)).map(|(_, column)| column + 1);
        let column = before.max().unwrap_or(0);
        columns.push(column);
    }
    let (mut filled, mut rows): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for column in &columns {
        let place = usize::try_from(*column).unwrap_or(0);
        filled.resize(filled.len().max(place + 1), 0);
        rows.push(filled[place]);
        filled[place] += 1;
    }
    let (wide, high) = (filled.len().max(1) * 210, filled.iter().max().copied().unwrap_or(1).max(1) * 70);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let mut svg = format!(
        "<svg class=\"steps\" viewBox=\"0 0 {wide} {high}\" width=\"{wide}\" height=\"{high}\" role=\"img\" aria-label=\"Steps in their order: {}\">",
        escaped(&names.join(", "))
    );
    let place = |n: usize| (columns[n] * 210, rows[n] * 70);
    for (n, step) in steps.iter().enumerate() {
        let (x, y) = place(n);
        for (before, _) in steps.iter().enumerate().filter(|(_, it)| step.after.contains(&it.name)) {
            let (from_x, from_y) = place(before);
            let _ = write!(svg, "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>", from_x + 180, from_y + 30, x, y + 30);
        }
    }
    for (n, step) in steps.iter().enumerate() {
        let (x, y) = place(n);
        let (name, job) = (escaped(&shortened(&step.name)), escaped(&shortened(&step.job)));
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"180\" height=\"50\" rx=\"6\"/><text x=\"{}\" y=\"{}\">{name}</text><text class=\"quiet\" x=\"{}\" y=\"{}\">{job}</text>",
            y + 5,
            x + 10,
            y + 26,
            x + 10,
            y + 44
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A name as far as a box has room.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 22 { name.to_owned() } else { name.chars().take(21).chain(['…']).collect() }
}

/// A QR code, dark on light whatever the page's colours are; none: the text is too long for one.
pub fn squares(text: &str) -> Option<String> {
    let code = qrcode::QrCode::new(text).ok()?;
    let wide = code.width();
    let mut path = String::new();
    for (place, colour) in code.to_colors().into_iter().enumerate() {
        if colour == qrcode::Color::Dark {
            // Four squares of margin: ISO/IEC 18004.
            let _ = write!(path, "M{} {}h1v1h-1z", place % wide + 4, place / wide + 4);
        }
    }
    let whole = wide + 8;
    Some(format!(
        "<svg class=\"qr\" viewBox=\"0 0 {whole} {whole}\" width=\"280\" height=\"280\" role=\"img\" aria-label=\"QR code to be scanned by an app that is signed in\" shape-rendering=\"crispEdges\"><rect class=\"light\" width=\"{whole}\" height=\"{whole}\"/><path class=\"dark\" d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_seen_however_little_and_names_are_text() {
        let part = Part { from: 1, to: 1_000_000, collected: 999_999, missing: 1, ..Part::default() };
        let bar = Bar { account_id: None, floor: 1, top: 1_000_000, exact: true, parts: vec![part] };
        let drawn = coverage(&bar);
        assert!(drawn.contains("<rect class=\"missing\" x=\"0\" y=\"0\" width=\"10\" height=\"3\"/>"), "{drawn}");
        assert!(drawn.contains("999999 collected, 1 missing"), "{drawn}");
        let step = |name: &str, after: &[&str]| StepShown {
            name: name.into(),
            job: "chat_refresh".into(),
            after: after.iter().map(|it| (*it).to_owned()).collect(),
            priority: None,
            spread_seconds: None,
        };
        let drawn = steps(&[step("<b>one", &[]), step("two", &["<b>one"])]);
        assert!(drawn.contains("&lt;b&gt;one") && !drawn.contains("<b>") && drawn.matches("<line").count() == 1, "{drawn}");
        assert!(squares("tg://login?token=x").unwrap().starts_with("<svg"));
    }
}
