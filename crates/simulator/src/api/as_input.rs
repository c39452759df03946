//! Peers in place of channels and users.
//!
//! Telegram's server takes `inputPeerChannel` where a method wants `inputChannel`, and `inputPeerUser` where it wants `inputUser`:
//! both have the same fields, and Pyrogram's family of clients sends them so in every `channels.*` call.

use grammers_tl_types as tl;
use tl::{Identifiable, types as t};

/// What a client sent, and what was wanted.
const ALIKE: [(u32, u32); 5] = [
    (t::InputPeerChannel::CONSTRUCTOR_ID, t::InputChannel::CONSTRUCTOR_ID),
    (t::InputPeerChannelFromMessage::CONSTRUCTOR_ID, t::InputChannelFromMessage::CONSTRUCTOR_ID),
    (t::InputPeerUser::CONSTRUCTOR_ID, t::InputUser::CONSTRUCTOR_ID),
    (t::InputPeerUserFromMessage::CONSTRUCTOR_ID, t::InputUserFromMessage::CONSTRUCTOR_ID),
    (0x7da0_7ec9, 0xf7c1_b13f), // inputPeerSelf, inputUserSelf: they have no fields, and so no types of their own
];

/// The same call with each such peer as a channel or user. Only for one that cannot be read as it is.
pub(super) fn peers_as_inputs(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    for word in body.chunks_exact_mut(4) {
        let id = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        if let Some((_, wanted)) = ALIKE.iter().find(|(sent, _)| *sent == id) {
            word.copy_from_slice(&wanted.to_le_bytes());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use tl::{Deserializable, Serializable};

    #[test]
    fn a_peer_is_read_as_a_channel_and_oneself_as_a_user() {
        let peer: tl::enums::InputPeer = t::InputPeerChannel { channel_id: 7, access_hash: -3 }.into();
        let body = [peer.to_bytes(), 5_i32.to_bytes()].concat();
        let channel = tl::enums::InputChannel::from_bytes(&peers_as_inputs(&body)).expect("is read");
        assert_eq!(channel, t::InputChannel { channel_id: 7, access_hash: -3 }.into());
        let oneself = peers_as_inputs(&tl::enums::InputPeer::PeerSelf.to_bytes());
        assert_eq!(tl::enums::InputUser::from_bytes(&oneself), Ok(tl::enums::InputUser::UserSelf));
    }
}
