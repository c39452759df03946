//! World files: which chats exist, in TOML.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::chat::ChatKind;
use super::generated::{GeneratedChat, Language, MediaMix};
use super::{Membership, OwnRole, Rules, World, WorldError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    #[serde(default)]
    seed: u64,
    export: Option<PathBuf>,
    rules: Option<Rules>,
    #[serde(default)]
    files: FilesEntry,
    #[serde(default)]
    chat: Vec<ChatEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatEntry {
    kind: ChatKind,
    id: Option<i64>,
    title: String,
    username: Option<String>,
    #[serde(default)]
    about: String,
    messages: i32,
    #[serde(default)]
    deleted: f64,
    #[serde(default)]
    languages: Vec<Language>,
    members: Option<i32>,
    /// Administrators, the creator included.
    admins: Option<u32>,
    #[serde(default)]
    restricted: u32,
    #[serde(default)]
    banned: u32,
    #[serde(default)]
    hidden_members: bool,
    /// What the world's own user is in it.
    #[serde(default)]
    role: OwnRole,
    #[serde(default)]
    media: MediaMix,
}

/// Where files lie.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesEntry {
    #[serde(default)]
    datacentres: Vec<i32>,
}

impl World {
    /// Reads a world file. A relative `export` begins at the file's folder.
    pub fn from_toml(path: &Path) -> Result<World, WorldError> {
        let text = std::fs::read_to_string(path).map_err(|source| WorldError::Unreadable { path: path.to_owned(), source })?;
        let file: WorldFile =
            toml::from_str(&text).map_err(|error| WorldError::Toml { path: path.to_owned(), problem: error.to_string() })?;
        let impossible = |problem: String| WorldError::Impossible { path: path.to_owned(), problem };
        if file.export.is_none() && file.chat.is_empty() {
            return Err(impossible("no `[[chat]]` and no `export`: a world needs one of them".to_owned()));
        }
        if let Some(problem) = file.rules.as_ref().and_then(Rules::problem) {
            return Err(impossible(format!("`[rules]`: {problem}")));
        }
        let mut world = match &file.export {
            Some(export) => World::from_export(&path.parent().unwrap_or(Path::new(".")).join(export))?,
            None => World::empty(file.seed),
        };
        world.seed = file.seed;
        for entry in file.chat {
            let chat = entry.checked().map_err(impossible)?;
            if file.export.is_some() && !chat.kind.is_channel() {
                let title = &chat.title;
                return Err(impossible(format!(
                    "`[[chat]]` {title:?}: beside an `export` only channels and supergroups can be generated (the ids of private \
                     chats and groups are the exporting account's)"
                )));
            }
            if let Some(id) = chat.id.filter(|&id| world.chat(id).is_some()) {
                return Err(impossible(format!("`[[chat]]` {:?}: id {id} is taken by another chat", chat.title)));
            }
            world = world.with(chat);
        }
        world.rules = file.rules;
        if let Some(dc) = file.files.datacentres.iter().find(|dc| !(1..=5).contains(*dc)) {
            return Err(impossible(format!("`[files]`: there is no datacentre {dc}, only 1 to 5")));
        }
        world.file_dcs = file.files.datacentres;
        Ok(world)
    }
}

impl ChatEntry {
    fn checked(self) -> Result<GeneratedChat, String> {
        let here = format!("`[[chat]]` {:?}", self.title);
        if self.messages < 1 {
            return Err(format!("{here}: `messages` must be at least 1, not {}", self.messages));
        }
        if !(0.0..=1.0).contains(&self.deleted) {
            return Err(format!("{here}: `deleted` is a share between 0 and 1, not {}", self.deleted));
        }
        if let Some(problem) = self.media.problem() {
            return Err(format!("{here}: `media`: {problem}"));
        }
        if let Some(members) = self.members.filter(|members| !(0..=1_000_000).contains(members)) {
            return Err(format!("{here}: `members` is between 0 and 1,000,000, not {members}"));
        }
        let id = match self.id {
            // Without the mark, as Telegram's own schema has it.
            Some(id) if id > 0 => Some(self.kind.marked(id)),
            Some(id) if self.kind == ChatKind::Private || id == 0 => {
                return Err(format!("{here}: {id} is no id of a user"));
            }
            Some(id) if self.kind.is_channel() == (id < -1_000_000_000_000) => Some(id),
            Some(id) => {
                return Err(format!("{here}: {id} does not fit its kind (channels and supergroups have -100…)"));
            }
            None => None,
        };
        Ok(GeneratedChat {
            kind: self.kind,
            id,
            title: self.title,
            username: self.username.map(|name| name.trim_start_matches('@').to_owned()),
            about: self.about,
            messages: self.messages,
            deleted: self.deleted,
            languages: self.languages,
            members: self.members,
            membership: Membership {
                admins: self.admins,
                restricted: self.restricted,
                banned: self.banned,
                hidden: self.hidden_members,
                role: self.role,
            },
            media: self.media,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_world_is_as_the_demo_needs_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("worlds/demo.toml");
        let world = World::from_toml(&path).expect("the committed world is valid");
        let harbour = world.chat_named("harbour").expect("is there");
        assert_eq!((harbour.kind, harbour.last_id()), (ChatKind::Channel, 3_000));
        let group = world.chats().iter().find(|chat| chat.kind == ChatKind::Supergroup).expect("is there");
        assert_eq!(group.last_id(), 20_000);
        let share = 1.0 - group.count() as f64 / 20_000.0;
        assert!((0.24..0.26).contains(&share), "{share}");
        assert!(world.rules.is_some());
    }

    #[test]
    fn an_export_may_have_generated_channels_beside_it() {
        let folder = crate::world::tests::folder("beside");
        std::fs::create_dir_all(folder.join("export")).expect("writes");
        let json = r#"{"name": "a", "type": "public_channel", "id": 7, "messages": []}"#;
        std::fs::write(folder.join("export/result.json"), json).expect("writes");
        let path = folder.join("w.toml");
        let with = |kind: &str| {
            let text = format!("export = \"export\"\n[[chat]]\nkind = \"{kind}\"\ntitle = \"b\"\nmessages = 5\n");
            std::fs::write(&path, text).expect("writes");
            World::from_toml(&path)
        };
        let world = with("supergroup").expect("is valid");
        assert_eq!(world.chats().iter().map(|chat| chat.title.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(world.users().len() > 100, "the generated chat's authors are there");
        assert!(with("group").expect_err("is refused").to_string().contains("only channels and supergroups"));
    }

    #[test]
    fn members_and_files_are_set_in_the_world_file() {
        let folder = crate::world::tests::folder("settings");
        let path = folder.join("w.toml");
        let text = "[files]\ndatacentres = [2, 4]\n[[chat]]\nkind = \"supergroup\"\ntitle = \"a\"\nmessages = 50\nmembers = 90\n\
                    admins = 4\nrestricted = 2\nbanned = 3\nhidden_members = true\nrole = \"admin\"\n\
                    media = { photos = 0.0, documents = 1.0, document_bytes = [9, 9], stickers = 0, voices = 0, videos = 0, animations = 0 }\n";
        std::fs::write(&path, text).expect("writes");
        let world = World::from_toml(&path).expect("is valid");
        let chat = &world.chats()[0];
        let roster = chat.roster();
        assert_eq!((roster.count(), roster.admins().len(), roster.restricted().len(), roster.banned().len()), (90, 4, 2, 3));
        assert!(chat.hidden_members && roster.get(world.me).is_some_and(|me| me.is_admin()));
        let files: Vec<_> = world.files(chat.id).expect("the chat").collect();
        assert!(files.len() > 40 && files.iter().all(|file| file.size == 9));
        assert_eq!(files.iter().map(|file| file.dc).collect::<std::collections::BTreeSet<_>>(), [2, 4].into());
        let told = |text: &str| {
            std::fs::write(&path, text).expect("writes");
            World::from_toml(&path).expect_err("is refused").to_string()
        };
        assert!(
            told("[files]\ndatacentres = [9]\n[[chat]]\nkind = \"group\"\ntitle = \"a\"\nmessages = 5\n")
                .contains("no datacentre 9")
        );
        let sum = "[[chat]]\nkind = \"group\"\ntitle = \"a\"\nmessages = 5\nmedia = { photos = 0.9, videos = 0.9 }\n";
        assert!(told(sum).contains("so does their sum"));
    }

    #[test]
    fn a_wrong_world_file_names_the_place() {
        let folder = crate::world::tests::folder("world-file");
        let path = folder.join("w.toml");
        let told = |text: &str| {
            std::fs::write(&path, text).expect("writes");
            World::from_toml(&path).expect_err("is refused").to_string()
        };
        let unknown = told("seed = 1\n[[chat]]\nkind = \"channel\"\ntitle = \"a\"\nmessages = 5\ncolour = 1\n");
        assert!(unknown.contains("w.toml") && unknown.contains("line 6") && unknown.contains("colour"), "{unknown}");
        let share = told("[[chat]]\nkind = \"group\"\ntitle = \"a\"\nmessages = 5\ndeleted = 25\n");
        assert!(share.contains("between 0 and 1, not 25"), "{share}");
        assert!(told("seed = 1\n").contains("no `[[chat]]`"));
    }
}
