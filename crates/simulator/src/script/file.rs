//! Scripts in files: what happens, and what goes wrong, each with its time.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Deed, Step};
use crate::fault::Fault;
use crate::world::{EventError, Timed, WorldError};

/// Reads a script: NDJSON, a step a line, or TOML with `[[event]]`. A step is an event, or a fault as the control port takes it
/// (`fault`, `push_faults`), or `{"heal": true}`. `after_ms` is when it happens, counted from the beginning; absent: together with
/// the one before.
///
/// # Errors
/// Names the file, the place and what is wrong there.
pub fn read(path: &Path) -> Result<Vec<Step>, WorldError> {
    let text = std::fs::read_to_string(path).map_err(|source| WorldError::Unreadable { path: path.to_owned(), source })?;
    let wrong =
        |place: String, problem: String| WorldError::Impossible { path: path.to_owned(), problem: format!("{place}: {problem}") };
    let values = if path.extension().is_some_and(|extension| extension == "toml") {
        of_toml(&text).map_err(|problem| WorldError::Impossible { path: path.to_owned(), problem })?
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(at, line)| {
                let place = format!("line {}", at + 1);
                let value = serde_json::from_str(line).map_err(|error| wrong(place.clone(), error.to_string()))?;
                Ok((place, value))
            })
            .collect::<Result<_, WorldError>>()?
    };
    let mut steps: Vec<Step> = Vec::with_capacity(values.len());
    for (place, value) in values {
        let before = steps.last().map_or(Duration::ZERO, |step| step.after);
        steps.push(step(value, before).map_err(|error| wrong(place, error.to_string()))?);
    }
    Ok(steps)
}

fn of_toml(text: &str) -> Result<Vec<(String, Value)>, String> {
    let told: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let told = serde_json::to_value(told).map_err(|error| error.to_string())?;
    let events = told.get("event").and_then(Value::as_array).ok_or("no `[[event]]`: a script needs one")?;
    Ok(events.iter().zip(1..).map(|(value, at)| (format!("event {at}"), renamed(value.clone()))).collect())
}

/// In TOML the array is called `event`, so an event says its kind as `kind` where that is no field of its own, else as `event`.
fn renamed(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut()
        && !["event", "fault", "push_faults", "heal"].iter().any(|known| fields.contains_key(*known))
        && let Some(kind) = fields.remove("kind")
    {
        fields.insert("event".to_owned(), kind);
    }
    value
}

fn step(mut value: Value, before: Duration) -> Result<Step, EventError> {
    let malformed = |problem: String| EventError::Malformed { problem };
    let after = match value.as_object_mut().and_then(|fields| fields.remove("after_ms")) {
        None => before,
        Some(ms) => {
            let ms = ms.as_u64().ok_or_else(|| malformed("`after_ms` is a whole number".to_owned()))?;
            Duration::from_millis(ms)
        }
    };
    if after < before {
        return Err(malformed(format!("`after_ms` is before the event above, at {} ms", before.as_millis())));
    }
    Ok(Step { after, deed: deed(value)? })
}

fn deed(mut value: Value) -> Result<Deed, EventError> {
    let malformed = |problem: String| EventError::Malformed { problem };
    if value.get("fault").is_some() {
        let fault: Fault = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        return match fault.problem() {
            Some(problem) => Err(malformed(problem)),
            None => Ok(Deed::Fault(fault)),
        };
    }
    if let Some(faults) = value.as_object_mut().and_then(|fields| fields.remove("push_faults")) {
        return Ok(Deed::Pushes(serde_json::from_value(faults).map_err(|error| malformed(error.to_string()))?));
    }
    if value.get("heal").is_some() {
        return Ok(Deed::Heal);
    }
    Ok(Deed::Event(Timed::read(value)?))
}
