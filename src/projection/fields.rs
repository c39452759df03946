//! Whether the indices have the fields that this version writes.

use serde_json::{Map, Value};

use super::{Error, Projector, mapping};
use crate::record::outbox::Kind;

/// A field that an index lacks, or has with another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    pub alias: String,
    /// With its objects, as `forward.chat_id`.
    pub field: String,
    /// It has another type; only a reindex helps. Else it lacks.
    pub changed: bool,
}

impl Projector {
    /// Compares the indices' fields with those of this version.
    pub async fn mapping_differences(&self) -> Result<Vec<FieldDifference>, Error> {
        let cjk = mapping::has_cjk(&self.client).await?;
        let mut differences = Vec::new();
        for kind in Kind::ALL {
            let alias = mapping::alias(&self.settings.prefix, kind);
            let answer = self.client.get(&format!("/{alias}/_mapping"), &[]).await?;
            if !answer.is_ok() {
                return Err(self.client.refused("reading a mapping", &answer));
            }
            let wanted = mapping::properties(kind, cjk);
            for index in answer.body.as_object().into_iter().flat_map(Map::values) {
                let has = index["mappings"]["properties"].as_object();
                compare(&wanted, has, &alias, "", &mut differences);
            }
        }
        Ok(differences)
    }
}

fn compare(
    wanted: &Map<String, Value>,
    has: Option<&Map<String, Value>>,
    alias: &str,
    within: &str,
    differences: &mut Vec<FieldDifference>,
) {
    for (name, want) in wanted {
        let field = format!("{within}{name}");
        let differs = |changed| FieldDifference { alias: alias.to_owned(), field: field.clone(), changed };
        let Some(there) = has.and_then(|has| has.get(name)) else {
            differences.push(differs(false));
            continue;
        };
        // An object has no type of its own.
        let kind = |it: &Value| it["type"].as_str().unwrap_or("object").to_owned();
        if kind(want) != kind(there) {
            differences.push(differs(true));
        } else if let Some(inner) = want["properties"].as_object() {
            compare(inner, there["properties"].as_object(), alias, &format!("{field}."), differences);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_lacks_and_what_is_of_another_type_is_told_apart() {
        let wanted = json!({"a": {"type": "long"}, "b": {"type": "text"}, "c": {"properties": {"d": {"type": "date"}}}});
        let has = json!({"a": {"type": "keyword"}, "c": {"properties": {}}, "z": {"type": "long"}});
        let mut found = Vec::new();
        compare(wanted.as_object().unwrap(), has.as_object(), "x", "", &mut found);
        let told: Vec<_> = found.iter().map(|it| (it.field.as_str(), it.changed)).collect();
        assert_eq!(told, [("a", true), ("b", false), ("c.d", false)]);
    }
}
