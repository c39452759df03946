//! How many calls of a method an account may make: a bucket for each method, filled as time goes, so that calls are spread and no
//! flood is provoked. Telegram publishes none of these figures; where nobody has seen one, it says that it is assumed.
//!
//! The buckets themselves are rows of the record; the figures here are Telegram's to change, and so belong to this room.

/// A bucket: so many calls at once, then one each `1 / rate` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Calls that may be made at once by an account that was quiet.
    pub capacity: f64,
    /// Calls a second that the bucket gains.
    pub rate: f64,
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

/// contacts.resolveUsername, whose budget is a day's.
pub const RESOLVE: &str = "contacts.resolveUsername";
/// messages.getHistory.
pub const HISTORY: &str = "messages.getHistory";
/// messages.getDialogs.
pub const DIALOGS: &str = "messages.getDialogs";
/// updates.getDifference.
pub const DIFFERENCE: &str = "updates.getDifference";
/// updates.getChannelDifference.
pub const CHANNEL_DIFFERENCE: &str = "updates.getChannelDifference";
/// channels.getParticipants.
pub const PARTICIPANTS: &str = "channels.getParticipants";
/// Joining, by whichever of [`JOIN_METHODS`]: one budget for all of them.
pub const JOIN: &str = "joining";
/// The methods that make an account a member.
pub const JOIN_METHODS: &[&str] = &["channels.joinChannel", "messages.importChatInvite"];
/// Up to such a share of the pause between two joins is added to it, at random, so that they keep no beat.
pub const JOIN_JITTER: f64 = 0.5;

/// The budget of a method, by Telegram's own name.
pub fn of(method: &str) -> Budget {
    match method {
        // Floods come after about 3,000 messages in 30 s, 30 full pages (https://github.com/LonamiWebs/Telethon/pull/565). 26.5 of
        // them, so that answers that arrive unevenly stay below it.
        HISTORY => Budget { capacity: 4.0, rate: 22.5 / 30.0 },
        // About 200 a day, seen by collectors; an account that made 1,385 was banned for 66,230 s. In no 24 hours more than 200.
        RESOLVE => Budget { capacity: 100.0, rate: 100.0 / DAY },
        // Listing again and again is punished; that 60 in an hour are not is assumed.
        DIALOGS => Budget { capacity: 40.0, rate: 20.0 / HOUR },
        // Assumed: after a reconnect many channels are asked at once.
        DIFFERENCE => Budget { capacity: 20.0, rate: 1.0 },
        CHANNEL_DIFFERENCE => Budget { capacity: 50.0, rate: 2.0 },
        // Assumed: as many messages as getHistory may give, in answers of 100.
        "channels.getMessages" | "messages.getMessages" | "messages.getMessagesViews" => {
            Budget { capacity: 4.0, rate: 22.5 / 30.0 }
        }
        // Assumed: descriptions in full are dear.
        "channels.getFullChannel" | "messages.getFullChat" | "users.getFullUser" => Budget { capacity: 20.0, rate: 12.0 / MINUTE },
        // Assumed: a list of 10,000 is 50 pages, and apps load them as fast as people scroll.
        PARTICIPANTS => Budget { capacity: 10.0, rate: 1.0 },
        // Assumed: minutes between joins; with the jitter, four to six.
        JOIN => Budget { capacity: 1.0, rate: 1.0 / (4.0 * MINUTE) },
        // Assumed: leaving many chats at once shows as well; an invite is looked at before each join, as apps do.
        "channels.leaveChannel" | "messages.deleteChatUser" => Budget { capacity: 2.0, rate: 1.0 / MINUTE },
        "messages.checkChatInvite" => Budget { capacity: 5.0, rate: 2.0 / MINUTE },
        // 50 to 60 MB/s were seen over several connections by collectors: 100 parts of 512 KiB a second, each with its hashes.
        // Telegram tells those whom it wants slower (FLOOD_PREMIUM_WAIT).
        "upload.getFile" | "upload.getFileHashes" => Budget { capacity: 100.0, rate: 100.0 },
        // Assumed: what is not named here is called rarely.
        _ => Budget { capacity: 10.0, rate: 1.0 },
    }
}

/// How many times faster than Telegram's own time the buckets fill for a session; none: nothing is spread.
///
/// `configured` is `[telegram] pace`. A session at a configured (simulated) datacentre may take any, and takes none where nothing is
/// configured. Telegram's own datacentres are never asked faster than its own pace.
pub fn pace(configured: Option<f64>, pinned: bool) -> Option<f64> {
    if pinned { configured.filter(|pace| *pace > 0.0) } else { Some(configured.filter(|pace| *pace > 0.0).unwrap_or(1.0).min(1.0)) }
}

/// Whether a session takes another pace than the configured one, which its operator should know.
pub fn pace_is_refused(configured: Option<f64>, pinned: bool) -> bool {
    !pinned && configured.is_some_and(|pace| pace <= 0.0 || pace > 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most calls in any so many seconds.
    fn most(method: &str, seconds: f64) -> f64 {
        let budget = of(method);
        budget.capacity + budget.rate * seconds
    }

    #[test]
    fn no_window_holds_more_than_telegram_allows() {
        assert!(most(HISTORY, 30.0) < 30.0);
        assert!(most(RESOLVE, DAY) <= 200.0);
        assert!(most(DIALOGS, HOUR) <= 60.0);
    }

    #[test]
    fn telegram_itself_is_never_hurried_and_a_simulated_one_only_spread_where_asked() {
        assert_eq!(pace(None, false), Some(1.0));
        assert_eq!(pace(Some(0.0), false), Some(1.0));
        assert_eq!(pace(Some(20.0), false), Some(1.0));
        assert_eq!(pace(Some(0.5), false), Some(0.5));
        assert_eq!(pace(None, true), None);
        assert_eq!(pace(Some(0.0), true), None);
        assert_eq!(pace(Some(20.0), true), Some(20.0));
        assert!(pace_is_refused(Some(0.0), false) && pace_is_refused(Some(20.0), false));
        assert!(!pace_is_refused(Some(0.0), true) && !pace_is_refused(None, false) && !pace_is_refused(Some(0.5), false));
    }
}
