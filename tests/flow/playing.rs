//! A world that goes on: random events over all chats, by a seed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use telekeep_simulator::Simulator;
use telekeep_simulator::world::{ChatKind, Event, Post};

/// What the play knows of a chat.
struct Stage {
    kind: ChatKind,
    /// Messages that exist, as the world numbers them.
    ids: Vec<i32>,
    members: Vec<i64>,
    /// Nothing happens here any more.
    closed: bool,
}

/// Lets events happen.
pub(crate) struct Play<'a> {
    datacentre: &'a Simulator,
    chance: StdRng,
    stages: BTreeMap<i64, Stage>,
    strangers: Vec<i64>,
    pub(crate) played: u64,
}

impl<'a> Play<'a> {
    pub(crate) fn new(datacentre: &'a Simulator, seed: u64, accounts: &[i64]) -> Self {
        let world = datacentre.world();
        let stages = world.all_chats().map(|chat| {
            let members: Vec<i64> = match chat.kind {
                ChatKind::Private => Vec::new(),
                _ => datacentre
                    .members(chat.id)
                    .unwrap()
                    .iter()
                    .map(|member| member.user_id)
                    .filter(|id| !accounts.contains(id))
                    .collect(),
            };
            let stage = Stage { kind: chat.kind, ids: chat.ids_from(1).collect(), members, closed: false };
            (chat.id, stage)
        });
        let strangers = world.users().keys().copied().filter(|user| !accounts.contains(user)).collect();
        Self { datacentre, chance: StdRng::seed_from_u64(seed), stages: stages.collect(), strangers, played: 0 }
    }

    /// So many events happen.
    pub(crate) fn goes_on(&mut self, events: u64) {
        let until = self.played + events;
        while self.played < until {
            let open: Vec<i64> = self.stages.iter().filter(|(_, stage)| !stage.closed).map(|(chat, _)| *chat).collect();
            let chat = *open.choose(&mut self.chance).unwrap();
            if let Some(event) = self.next(chat) {
                self.happens(event);
            }
        }
    }

    /// A basic group becomes a supergroup; gives both.
    pub(crate) fn migrates(&mut self) -> (i64, i64) {
        let group = *self.stages.iter().find(|(_, stage)| stage.kind == ChatKind::Group && !stage.closed).unwrap().0;
        self.datacentre.play(Event::Migrate { chat: group, to: None }).unwrap();
        self.played += 1;
        let to = self.datacentre.world().chat(group).unwrap().migrated_to().unwrap();
        let old = self.stages.get_mut(&group).unwrap();
        old.closed = true;
        let members = old.members.clone();
        let ids = self.datacentre.world().chat(to).unwrap().ids_from(1).collect();
        self.stages.insert(to, Stage { kind: ChatKind::Supergroup, ids, members, closed: false });
        (group, to)
    }

    fn happens(&mut self, event: Event) {
        let Ok(record) = self.datacentre.play(event) else { return };
        self.played += 1;
        for (chat, id) in record.posted() {
            if let Some(stage) = self.stages.get_mut(&chat) {
                stage.ids.push(id);
            }
        }
    }

    fn next(&mut self, chat: i64) -> Option<Event> {
        let stage = self.stages.get_mut(&chat).unwrap();
        let private = stage.kind == ChatKind::Private;
        let from = if matches!(stage.kind, ChatKind::Channel | ChatKind::Private) {
            None
        } else {
            stage.members.choose(&mut self.chance).copied()
        };
        let number = self.played;
        let said = |text: String| Post { from, ..Post::text(&text) };
        let any = stage.ids.choose(&mut self.chance).copied();
        Some(match self.chance.random_range(0..100) {
            0..52 => Event::Post {
                chat,
                post: Post {
                    reply_to: if number.is_multiple_of(5) { any } else { None },
                    ..said(format!("said {number} https://example.org/{number}"))
                },
            },
            52..55 => Event::Album { chat, posts: vec![said(format!("one {number}")), said(format!("two {number}"))] },
            55..77 => Event::Edit { chat, id: any?, text: format!("edited {number}") },
            77..88 => {
                let count = self.chance.random_range(1..4).min(stage.ids.len());
                let ids = (0..count).map(|_| stage.ids.swap_remove(self.chance.random_range(0..stage.ids.len()))).collect();
                Event::Delete { chat, ids }
            }
            88..90 if !private => {
                let user = *self.strangers.choose(&mut self.chance)?;
                if !stage.members.contains(&user) {
                    stage.members.push(user);
                }
                Event::Join { chat, user, by: Default::default() }
            }
            90..92 if !private && stage.members.len() > 2 => {
                let user = stage.members.swap_remove(self.chance.random_range(0..stage.members.len()));
                Event::Leave { chat, user }
            }
            92 if !private => Event::Title { chat, title: format!("title {number}"), by: None },
            93 if !private => Event::Pin { chat, id: any?, by: None, silent: false },
            94..97 if !private => Event::Counts { chat, id: any?, views: Some(number as i32), forwards: None },
            97..100 if !private => {
                Event::React { chat, id: any?, user: *stage.members.choose(&mut self.chance)?, emoji: Some("👍".into()) }
            }
            _ => Event::Post { chat, post: said(format!("said {number}")) },
        })
    }
}
