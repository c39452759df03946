//! What the configuration wants fetched. Pure: the first rule that covers a file decides; what none covers stays metadata.

use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// The types that a rule may name.
pub const TYPES: &[&str] = &["photo", "avatar", "video", "video_note", "animation", "audio", "voice", "sticker", "document"];

/// One rule, as it stands in the configuration. What it does not say it does not ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Shown wherever this rule decides.
    pub name: String,
    /// Whether the files that it covers are fetched, or left out.
    pub fetch: bool,
    /// photo, avatar, video, video_note, animation, audio, voice, sticker, document
    #[serde(default, deserialize_with = "types")]
    pub types: Vec<String>,
    /// As `image/*` or `application/pdf`; upper and lower case are the same.
    #[serde(default, deserialize_with = "mime")]
    pub mime: Mime,
    #[serde(default)]
    pub min_bytes: Option<u64>,
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Since the file was sent, as `90d`, `12h`, `30m`.
    #[serde(default, deserialize_with = "age")]
    pub max_age: Option<Age>,
    /// Marked ids of chats, one of which carries it.
    #[serde(default)]
    pub chats: Vec<i64>,
    /// Tags of watched chats, one of which carries it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Also files that nobody may save.
    #[serde(default)]
    pub protected: bool,
    /// Also files that destroy themselves.
    #[serde(default)]
    pub self_destructing: bool,
}

/// A time span, with the text that it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Age {
    pub text: String,
    pub span: Duration,
}

/// Patterns of MIME types.
#[derive(Debug, Clone, Default)]
pub struct Mime {
    text: Vec<String>,
    set: GlobSet,
}

fn types<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let types = Vec::<String>::deserialize(from)?;
    match types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        Some(unknown) => Err(serde::de::Error::custom(format!("there is no type {unknown:?}; there are {}", TYPES.join(", ")))),
        None => Ok(types),
    }
}

fn mime<'de, D: Deserializer<'de>>(from: D) -> Result<Mime, D::Error> {
    let text = Vec::<String>::deserialize(from)?;
    let mut set = GlobSetBuilder::new();
    for pattern in &text {
        set.add(Glob::new(&pattern.to_lowercase()).map_err(serde::de::Error::custom)?);
    }
    Ok(Mime { text, set: set.build().map_err(serde::de::Error::custom)? })
}

fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Age>, D::Error> {
    let text = String::deserialize(from)?;
    let unit = |unit: u64| text[..text.len() - 1].parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let seconds = match text.as_bytes().last() {
        Some(b'd') => unit(86_400),
        Some(b'h') => unit(3_600),
        Some(b'm') => unit(60),
        Some(b's') => unit(1),
        _ => None,
    };
    let Some(seconds) = seconds else {
        return Err(serde::de::Error::custom(format!("{text:?} is no age; write it as \"90d\", \"12h\" or \"30m\"")));
    };
    Ok(Some(Age { span: Duration::from_secs(seconds), text }))
}

/// What a rule looks at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// As in [`TYPES`].
    pub kind: String,
    pub mime_type: Option<String>,
    pub size: Option<u64>,
    /// Since it was sent.
    pub age: Option<Duration>,
    /// Marked ids of the chats that carry it.
    pub chats: Vec<i64>,
    /// The tags of those that are watched.
    pub tags: Vec<String>,
    /// `self_destructing` or `protected`, where each of its sources is so.
    pub restricted: Option<String>,
}

/// What the rules say of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    Fetch {
        rule: &'a str,
    },
    /// By that rule, or because none covers it.
    Skip {
        rule: Option<&'a str>,
    },
}

impl<'a> Verdict<'a> {
    /// Which rule decided.
    pub fn rule(&self) -> Option<&'a str> {
        match self {
            Self::Fetch { rule } => Some(rule),
            Self::Skip { rule } => *rule,
        }
    }
}

/// The rules in their order. Without any, nothing is fetched.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is done with a file.
    pub fn decide(&self, facts: &Facts) -> Verdict<'_> {
        match self.0.iter().find(|rule| rule.covers(facts)) {
            Some(Rule { fetch: true, name, .. }) => Verdict::Fetch { rule: name },
            Some(Rule { name, .. }) => Verdict::Skip { rule: Some(name) },
            None => Verdict::Skip { rule: None },
        }
    }

    /// Changes whenever a rule does: what was decided under another digest is decided anew.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for rule in &self.0 {
            hash.update(format!("{:?}\n", rule.said()));
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Rule {
    fn covers(&self, facts: &Facts) -> bool {
        let among = |asked: &[String], has: &[String]| asked.is_empty() || asked.iter().any(|one| has.contains(one));
        let restricted = match facts.restricted.as_deref() {
            None => true,
            Some("protected") => self.protected,
            Some("self_destructing") => self.self_destructing,
            Some(_) => false,
        };
        // A rule that leaves files out needs no leave to touch them.
        (restricted || !self.fetch)
            && (self.types.is_empty() || self.types.contains(&facts.kind))
            && (self.mime.text.is_empty()
                || facts.mime_type.as_ref().is_some_and(|mime| self.mime.set.is_match(mime.to_lowercase())))
            && self.min_bytes.is_none_or(|least| facts.size.is_some_and(|size| size >= least))
            && self.max_bytes.is_none_or(|most| facts.size.is_some_and(|size| size <= most))
            && self.max_age.as_ref().is_none_or(|most| facts.age.is_some_and(|age| age <= most.span))
            && (self.chats.is_empty() || self.chats.iter().any(|chat| facts.chats.contains(chat)))
            && among(&self.tags, &facts.tags)
    }

    /// All that it says, without what was made of it.
    fn said(&self) -> impl std::fmt::Debug + '_ {
        let Self { name, fetch, types, mime, min_bytes, max_bytes, max_age, chats, tags, protected, self_destructing } = self;
        let limits = (min_bytes, max_bytes, max_age.as_ref().map(|age| &age.text));
        (name, fetch, types, &mime.text, limits, chats, tags, protected, self_destructing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        rule: Vec<Rule>,
    }

    fn rules(text: &str) -> Rules {
        Rules::new(toml::from_str::<File>(text).unwrap().rule)
    }

    fn wrong(text: &str) -> String {
        toml::from_str::<File>(text).err().unwrap().message().to_owned()
    }

    fn photo(size: u64) -> Facts {
        Facts { kind: "photo".into(), mime_type: Some("image/JPEG".into()), size: Some(size), ..Facts::default() }
    }

    #[test]
    fn the_first_rule_that_covers_a_file_decides_and_none_leaves_it() {
        let rules = rules(
            "[[rule]]\nname = 'no giants'\nfetch = false\nmin_bytes = 1000\n
             [[rule]]\nname = 'pictures'\nfetch = true\ntypes = ['photo']\nmime = ['image/*']\nmax_bytes = 5000",
        );
        assert_eq!(rules.decide(&photo(999)), Verdict::Fetch { rule: "pictures" });
        assert_eq!(rules.decide(&photo(1000)), Verdict::Skip { rule: Some("no giants") });
        assert_eq!(rules.decide(&Facts { kind: "video".into(), ..photo(1) }), Verdict::Skip { rule: None });
        assert_eq!(rules.decide(&Facts { mime_type: None, ..photo(1) }), Verdict::Skip { rule: None });
        assert_eq!(rules.decide(&Facts { size: None, ..photo(1) }), Verdict::Skip { rule: None }, "who knows how large it is");
        assert_eq!(Rules::default().decide(&photo(1)), Verdict::Skip { rule: None });
    }

    #[test]
    fn age_chats_and_tags_bound_a_rule() {
        let rules = rules("[[rule]]\nname = 'news'\nfetch = true\nmax_age = '2d'\nchats = [-1001, -1002]\ntags = ['press']");
        let facts = |days: u64, chats: &[i64], tags: &[&str]| Facts {
            age: Some(Duration::from_secs(days * 86_400)),
            chats: chats.to_vec(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..photo(1)
        };
        assert_eq!(rules.decide(&facts(2, &[-7, -1002], &["press"])), Verdict::Fetch { rule: "news" });
        for other in [facts(3, &[-1002], &["press"]), facts(1, &[-7], &["press"]), facts(1, &[-1001], &[])] {
            assert_eq!(rules.decide(&other), Verdict::Skip { rule: None });
        }
    }

    #[test]
    fn what_must_not_be_saved_needs_a_rule_that_says_so() {
        let restricted = |what: &str| Facts { restricted: Some(what.into()), ..photo(1) };
        let plain = rules("[[rule]]\nname = 'all'\nfetch = true");
        assert_eq!(plain.decide(&restricted("protected")), Verdict::Skip { rule: None });
        assert_eq!(plain.decide(&restricted("self_destructing")), Verdict::Skip { rule: None });
        let bold = rules("[[rule]]\nname = 'all'\nfetch = true\nprotected = true");
        assert_eq!(bold.decide(&restricted("protected")), Verdict::Fetch { rule: "all" });
        assert_eq!(bold.decide(&restricted("self_destructing")), Verdict::Skip { rule: None });
    }

    #[test]
    fn a_digest_changes_with_any_word_of_a_rule() {
        let base = "[[rule]]\nname = 'all'\nfetch = true";
        let mut digests: Vec<String> = ["", "\nmime = ['a/*']", "\nmax_age = '2d'", "\nprotected = true", "\ntags = ['a']"]
            .iter()
            .map(|more| rules(&format!("{base}{more}")).digest())
            .collect();
        assert_eq!(rules(base).digest(), digests[0]);
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), 5);
    }

    #[test]
    fn what_a_rule_cannot_mean_is_told() {
        let with = |line: &str| wrong(&format!("[[rule]]\nname = 'all'\nfetch = true\n{line}"));
        assert!(
            with("types = ['gif']").contains("there is no type \"gif\"; there are photo, avatar"),
            "{}",
            with("types = ['gif']")
        );
        assert!(with("max_age = 'old'").contains("\"old\" is no age"), "{}", with("max_age = 'old'"));
        assert!(with("max_age = ''").contains("is no age"));
        assert!(with("mime = ['image/[']").contains("image/["));
        assert!(with("size = 1").contains("unknown field"));
        assert!(wrong("[[rule]]\nname = 'all'").contains("fetch"));
    }
}
