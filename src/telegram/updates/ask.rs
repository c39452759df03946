//! Asking for what was missed.

use grammers_tl_types as tl;

use crate::telegram::{Connection, InputChat, Result, updates::Common};

/// Most events of a channel in one answer: <https://core.telegram.org/method/updates.getChannelDifference>.
const CHANNEL_EVENTS: i32 = 100;

impl Connection {
    /// Where the account's own sequences stand at Telegram now.
    pub async fn update_state(&self) -> Result<Common> {
        let tl::enums::updates::State::State(state) = self.invoke(&tl::functions::updates::GetState {}).await?;
        Ok(state.into())
    }

    /// What happened to the account's own box since a state.
    pub async fn difference(&self, since: &tl::functions::updates::GetDifference) -> Result<tl::enums::updates::Difference> {
        self.invoke(since).await
    }

    /// What happened in a channel since a pts. None: this is no channel.
    pub async fn channel_difference(&self, chat: &InputChat, pts: i32) -> Result<Option<tl::enums::updates::ChannelDifference>> {
        let Some(channel) = chat.channel() else { return Ok(None) };
        let filter = tl::enums::ChannelMessagesFilter::Empty;
        let since = tl::functions::updates::GetChannelDifference { force: false, channel, filter, pts, limit: CHANNEL_EVENTS };
        self.invoke(&since).await.map(Some)
    }
}
