//! What an account is told of files: a reference of its own, fresh in each answer, and the datacentre that they lie in.

use grammers_tl_types as tl;
use tl::enums::{Document, Message, MessageAction, MessageMedia, Photo};

use super::Caller;
use crate::files::{Answer, Origin};
use crate::world::marked;

/// One answer's references.
struct Stamp<'a> {
    caller: &'a Caller<'a>,
    secret: i64,
    answer: Answer,
}

impl Caller<'_> {
    /// Gives the files of messages fresh references; all messages that an answer or update tells go through here.
    pub(super) fn stamp(&self, messages: &mut [Message]) {
        let stamp = self.stamping();
        for message in messages {
            match message {
                Message::Empty(_) => {}
                Message::Message(message) => {
                    if let Some(media) = &mut message.media {
                        stamp.media(media, Origin { peer: marked(&message.peer_id), message: message.id });
                    }
                }
                Message::Service(message) => {
                    if let MessageAction::ChatEditPhoto(action) = &mut message.action {
                        stamp.photo(&mut action.photo, Origin { peer: marked(&message.peer_id), message: message.id });
                    }
                }
            }
        }
    }

    /// The same for one message.
    pub(super) fn stamped(&self, mut message: Message) -> Message {
        self.stamp(std::slice::from_mut(&mut message));
        message
    }

    /// The same for a picture of a user or chat (marked id).
    pub(super) fn portrait(&self, peer: i64, photo: i64, date: i32) -> Photo {
        let mut told = self.datacentre.world.portrait(photo, date);
        self.stamping().photo(&mut told, Origin { peer, message: 0 });
        told
    }

    /// What seals this account's references.
    pub(super) fn reference_secret(&self) -> i64 {
        self.account.access_hash(0)
    }

    fn stamping(&self) -> Stamp<'_> {
        Stamp { caller: self, secret: self.reference_secret(), answer: self.datacentre.files.answer() }
    }
}

impl Stamp<'_> {
    fn media(&self, media: &mut MessageMedia, origin: Origin) {
        match media {
            MessageMedia::Photo(media) => media.photo.iter_mut().for_each(|photo| self.photo(photo, origin)),
            MessageMedia::Document(media) => media.document.iter_mut().for_each(|document| self.document(document, origin)),
            MessageMedia::WebPage(media) => {
                if let tl::enums::WebPage::Page(page) = &mut media.webpage {
                    page.photo.iter_mut().for_each(|photo| self.photo(photo, origin));
                    page.document.iter_mut().for_each(|document| self.document(document, origin));
                }
            }
            MessageMedia::Game(media) => {
                let tl::enums::Game::Game(game) = &mut media.game;
                self.photo(&mut game.photo, origin);
                game.document.iter_mut().for_each(|document| self.document(document, origin));
            }
            _ => {}
        }
    }

    fn photo(&self, photo: &mut Photo, origin: Origin) {
        if let Photo::Photo(photo) = photo {
            photo.dc_id = self.caller.datacentre.world.file_dc(photo.id);
            photo.file_reference = self.answer.reference(self.secret, photo.id, origin);
        }
    }

    fn document(&self, document: &mut Document, origin: Origin) {
        if let Document::Document(document) = document {
            document.dc_id = self.caller.datacentre.world.file_dc(document.id);
            document.file_reference = self.answer.reference(self.secret, document.id, origin);
        }
    }
}
