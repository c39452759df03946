//! `[telemetry]`: how the process tells of itself.

use serde::Deserialize;

use super::{ConfigError, Secret};

/// Logs and traces. Metrics are at `/metrics`, where `[http] listen` is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// `text` or `json`, one object a line; `TELEKEEP_LOG_FORMAT` wins.
    pub log: LogFormat,
    /// Where traces go by OTLP over HTTP, as `http://host:4318`; `OTEL_EXPORTER_OTLP_ENDPOINT` wins. Without it there are none.
    /// May carry a password.
    pub otlp: Option<Secret>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Telemetry {
    /// The environment over the file.
    pub(super) fn environment(&mut self, set: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        if set("TELEKEEP_LOG_JSON").is_some() {
            self.log = LogFormat::Json;
        }
        if let Some(value) = set("TELEKEEP_LOG_FORMAT") {
            self.log = match value.as_str() {
                "json" => LogFormat::Json,
                "text" => LogFormat::Text,
                _ => return Err(ConfigError::LogFormat { value }),
            };
        }
        if let Some(value) = set("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.otlp = Some(Secret(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_and_other_words_are_refused() {
        let mut telemetry = Telemetry { log: LogFormat::Json, otlp: None };
        telemetry.environment(|name| (name == "TELEKEEP_LOG_FORMAT").then(|| "text".into())).unwrap();
        assert_eq!(telemetry.log, LogFormat::Text);
        telemetry.environment(|name| (name == "TELEKEEP_LOG_JSON").then(|| "1".into())).unwrap();
        assert_eq!(telemetry.log, LogFormat::Json);
        let refused = telemetry.environment(|name| (name == "TELEKEEP_LOG_FORMAT").then(|| "xml".into())).unwrap_err();
        assert_eq!(refused.to_string(), "TELEKEEP_LOG_FORMAT=xml: write text or json");
    }
}
