//! Members as they pass: who joins, writes, is promoted, banned and leaves while Telekeep listens.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Member, Membership, Post, Standing};
use telekeep_simulator::{AccountRequest, World};

use crate::installation::{Telekeep, datacentre, until};
use crate::members::{chat_of, supergroup};

/// What the record says of somebody in a chat.
async fn stands(pool: &PgPool, chat: i64, user: i64) -> Option<(Option<String>, Option<bool>, Value)> {
    sqlx::query_as("select status, present, body from member where chat_id = $1 and user_id = $2")
        .bind(chat)
        .bind(user)
        .fetch_optional(pool)
        .await
        .unwrap()
}

async fn becomes(pool: &PgPool, chat: i64, user: i64, status: &str) -> Value {
    until(&format!("{user} {status} in {chat}"), || async {
        stands(pool, chat, user).await.is_some_and(|(found, ..)| found.as_deref() == Some(status))
    })
    .await;
    stands(pool, chat, user).await.unwrap().2
}

/// The chat is read by the listener's account from now on.
async fn is_followed(telekeep: &Telekeep, pool: &PgPool, chat: i64, account: &str) {
    telekeep.has_workflow("new-chat");
    telekeep.does(&["chat", "watch", &chat.to_string(), "--account", account]);
    until("the history", || async {
        sqlx::query_scalar("select exists (select from workflow_run where chat_id = $1 and state = 'done')")
            .bind(chat)
            .fetch_one(pool)
            .await
            .unwrap()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

async fn knows(pool: &PgPool, chat: i64) {
    until("the dialogs", || async {
        sqlx::query_scalar("select exists (select from account_peer where peer_id = $1)").bind(chat).fetch_one(pool).await.unwrap()
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_joins_writes_and_leaves_is_kept_as_it_passes(pool: PgPool) {
    let world = World::generated(
        38,
        [
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 300).named("quay").members(60),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40)
                .members(20)
                .membership(Membership { admins: Some(2), ..Membership::default() }),
            GeneratedChat::new(ChatKind::Channel, "Harbour", 40).named("harbour"),
        ],
    );
    let datacentre = datacentre(world).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let (quay, crew, harbour) =
        (chat_of(&datacentre, "Quay"), chat_of(&datacentre, "Night shift"), chat_of(&datacentre, "Harbour"));
    let _worker = telekeep.works();
    knows(&pool, crew).await;
    for chat in [quay, crew, harbour] {
        is_followed(&telekeep, &pool, chat, "keeper").await;
    }

    // Senders: whoever wrote, from their first to their last message; nobody for what a channel posts.
    let wrong: Vec<(i64, i64)> = sqlx::query_as(
        "select coalesce(w.chat_id, m.chat_id), coalesce(w.user_id, m.user_id)
        from (select chat_id, (body->>'from_user_id')::bigint as user_id, min(date) as first, max(date) as last from message
              where body ? 'from_user_id' and chat_id < 0 and not body ? 'post' group by 1, 2) w
        full join member m on m.chat_id = w.chat_id and m.user_id = w.user_id
        where (w.first, w.last) is distinct from (m.first_seen, m.last_seen) and (w.user_id is not null or m.status is null)",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(wrong, []);
    let count = "select count(*) from member where chat_id = $1";
    let senders: i64 = sqlx::query_scalar(count).bind(quay).fetch_one(&pool).await.unwrap();
    let of_channel: i64 = sqlx::query_scalar(count).bind(harbour).fetch_one(&pool).await.unwrap();
    assert!(senders > 10 && of_channel == 0, "{senders} {of_channel}");

    // A basic group's description is a whole list.
    telekeep.does(&["member", "snapshot", &crew.to_string()]);
    until("the list", || async {
        sqlx::query_scalar("select exists (select from member_snapshot where state = 'complete')").fetch_one(&pool).await.unwrap()
    })
    .await;
    let is_the_truth = async |chat: i64| {
        let truth: BTreeMap<i64, bool> =
            datacentre.members(chat).unwrap().iter().map(|member| (member.user_id, member.is_present())).collect();
        let found: Vec<(i64, bool)> =
            sqlx::query_as("select user_id, present from member where chat_id = $1 and present is not null order by user_id")
                .bind(chat)
                .fetch_all(&pool)
                .await
                .unwrap();
        let found: BTreeMap<i64, bool> = found.into_iter().filter(|(user, present)| *present || truth.contains_key(user)).collect();
        assert_eq!(found, truth);
    };
    is_the_truth(crew).await;

    let me = datacentre.world().me;
    let outside = |chat: i64| -> Vec<i64> {
        let members = datacentre.members(chat).unwrap();
        let is_in = |user: &i64| members.iter().any(|member| member.user_id == *user);
        datacentre.world().users().keys().copied().filter(|user| !is_in(user)).collect()
    };
    for chat in [quay, crew] {
        let (alone, brought) = (outside(chat)[0], outside(chat)[1]);
        datacentre.play(Event::Join { chat, user: alone, by: Default::default() }).unwrap();
        let body = becomes(&pool, chat, alone, "member").await;
        let joined: DateTime<Utc> = body["joined_date"].as_str().unwrap().parse().unwrap();
        let truly = datacentre.members(chat).unwrap().iter().find(|member| member.user_id == alone).unwrap().date;
        assert_eq!((joined.timestamp(), body.get("invited_by_id")), (i64::from(truly), None));
        datacentre.play(Event::Invite { chat, users: vec![brought], by: me }).unwrap();
        assert_eq!(becomes(&pool, chat, brought, "member").await["invited_by_id"], me);
        datacentre.play(Event::Post { chat, post: Post::said(alone, "a ship") }).unwrap();
        datacentre.play(Event::Leave { chat, user: alone }).unwrap();
        let gone = becomes(&pool, chat, alone, "left").await;
        assert!(gone["left_at"].is_string() && gone.get("removed_by_id").is_none(), "{gone}");
        assert!(gone["joined_date"].is_string(), "what was known stays");
        datacentre.play(Event::Kick { chat, user: brought, by: me }).unwrap();
        assert_eq!(becomes(&pool, chat, brought, "left").await["removed_by_id"], me);
        datacentre.play(Event::Join { chat, user: alone, by: Default::default() }).unwrap();
        assert!(becomes(&pool, chat, alone, "member").await.get("left_at").is_none());
    }
    is_the_truth(crew).await;
    // Whom a watched chat shows is known by name.
    let named: bool = sqlx::query_scalar(
        "select bool_and(exists (select from telegram_user u where u.user_id = m.user_id)) from member m where chat_id = $1",
    )
    .bind(crew)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(named);

    // A chat that is not watched any more tells nothing; what was told stays.
    telekeep.does(&["chat", "unwatch", &crew.to_string()]);
    let before: i64 = sqlx::query_scalar(count).bind(crew).fetch_one(&pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stranger = outside(crew)[3];
    datacentre.play(Event::Join { chat: crew, user: stranger, by: Default::default() }).unwrap();
    datacentre.play(Event::Join { chat: quay, user: stranger, by: Default::default() }).unwrap();
    becomes(&pool, quay, stranger, "member").await;
    assert_eq!(sqlx::query_scalar::<_, i64>(count).bind(crew).fetch_one(&pool).await.unwrap(), before);
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_promotion_a_ban_and_its_end_are_kept_as_they_pass(pool: PgPool) {
    // Telegram tells bots of every change: one of the members is one.
    let datacentre = datacentre(World::generated(39, [supergroup("Quay", 1_500, Membership::default())])).await;
    let chat = chat_of(&datacentre, "Quay");
    let members = datacentre.members(chat).unwrap();
    let is_bot = |member: &&Member| datacentre.world().person(member.user_id).is_some_and(|person| person.bot);
    let bot = members.iter().find(is_bot).unwrap().user_id;
    let request = AccountRequest { user_id: Some(bot), ..AccountRequest::named("keeper") };
    datacentre.account_with(&request).unwrap();
    let telekeep = Telekeep::at(&datacentre, &pool);
    let _worker = telekeep.works();
    knows(&pool, chat).await;
    is_followed(&telekeep, &pool, chat, "keeper").await;

    let (creator, user) = (members[0].user_id, members[1_000].user_id);
    let promote = |standing: Standing| datacentre.play(Event::Promote { chat, user, by: creator, standing }).unwrap();
    promote(Standing::Admin { rank: Some("pilot".into()) });
    let body = becomes(&pool, chat, user, "administrator").await;
    assert_eq!((&body["title"], &body["promoted_by_id"]), (&json!("pilot"), &json!(creator)));
    assert!(body["rights"].as_array().is_some_and(|rights| rights.contains(&json!("ban_users"))), "{body}");
    promote(Standing::Member);
    let body = becomes(&pool, chat, user, "member").await;
    assert!(["title", "rights", "promoted_by_id"].iter().all(|field| body.get(*field).is_none()), "{body}");
    promote(Standing::Restricted { until: 0 });
    let body = becomes(&pool, chat, user, "restricted").await;
    assert_eq!((&body["restricted_by_id"], stands(&pool, chat, user).await.unwrap().1), (&json!(creator), Some(true)));
    let until = 2_000_000_000;
    datacentre.play(Event::Ban { chat, user, by: creator, until }).unwrap();
    let body = becomes(&pool, chat, user, "banned").await;
    assert_eq!((&body["until_date"], &body["restricted_by_id"]), (&json!("2033-05-18T03:33:20Z"), &json!(creator)));
    assert_eq!(stands(&pool, chat, user).await.unwrap().1, Some(false));
    datacentre.play(Event::Unban { chat, user, by: creator }).unwrap();
    let body = becomes(&pool, chat, user, "left").await;
    assert!(body.get("until_date").is_none(), "{body}");
    assert_eq!(datacentre.violations(), []);
}
