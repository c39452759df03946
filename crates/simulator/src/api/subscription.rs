//! Whether a call subscribes its session to updates.

use grammers_tl_types as tl;
use tl::Identifiable;
use tl::functions as f;

use super::{Rest, read};
use crate::wire::message::constructor;

/// Every call does, but for those in `invokeWithoutUpdates` and those that read files
/// (<https://core.telegram.org/method/invokeWithoutUpdates>).
pub(crate) fn subscribes(body: &[u8]) -> bool {
    let mut body = body.to_vec();
    loop {
        let inner = match constructor(&body) {
            f::InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID => return false,
            f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeWithLayer<Rest>>(&body).map(|wrapper| wrapper.query.0),
            f::InitConnection::<Rest>::CONSTRUCTOR_ID => read::<f::InitConnection<Rest>>(&body).map(|wrapper| wrapper.query.0),
            f::InvokeWithTakeout::<Rest>::CONSTRUCTOR_ID => {
                read::<f::InvokeWithTakeout<Rest>>(&body).map(|wrapper| wrapper.query.0)
            }
            f::InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID => read::<f::InvokeAfterMsg<Rest>>(&body).map(|wrapper| wrapper.query.0),
            f::upload::GetFile::CONSTRUCTOR_ID | f::upload::GetFileHashes::CONSTRUCTOR_ID => return false,
            _ => return true,
        };
        match inner {
            Ok(inner) => body = inner,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tl::Serializable;

    use super::*;

    #[test]
    fn calls_without_updates_and_for_files_do_not() {
        let state = f::updates::GetState {};
        assert!(subscribes(&state.to_bytes()));
        let with_layer = |query: &dyn Fn() -> Vec<u8>| {
            let mut bytes = f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID.to_bytes();
            230_i32.serialize(&mut bytes);
            bytes.extend(query());
            bytes
        };
        assert!(subscribes(&with_layer(&|| state.to_bytes())));
        let without = f::InvokeWithoutUpdates { query: state.clone() };
        assert!(!subscribes(&without.to_bytes()));
        assert!(!subscribes(&with_layer(&|| without.to_bytes())));
        assert!(!subscribes(&f::upload::GetFile::CONSTRUCTOR_ID.to_bytes()));
    }
}
