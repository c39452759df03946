use serde_json::json;

use super::*;
use crate::fault::{Fault, FaultKind};
use crate::push::PushFaults;
use crate::script::{self, Deed};
use crate::world::{Chat, GeneratedChat, World};

fn world() -> World {
    World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Supergroup, "quay", 50).named("quay"),
            GeneratedChat::new(ChatKind::Group, "crew", 20),
            GeneratedChat::new(ChatKind::Private, "Maren", 20),
        ],
    )
}

fn wrong(world: &World, event: serde_json::Value) -> String {
    match Timed::read(event).and_then(|timed| world.play(timed)) {
        Err(error) => error.to_string(),
        Ok(record) => panic!("happened: {record:?}"),
    }
}

fn posted(world: &World, event: serde_json::Value) -> i32 {
    let record = Timed::read(event).and_then(|timed| world.play(timed)).expect("happens");
    record.posted().next().expect("a message").1
}

const AUTHOR: i64 = 5_100_000_003;

#[test]
fn a_channel_takes_one_pts_for_each_message_changed() {
    let world = world();
    let quay = &world.chats()[0];
    let (pts, id) = (quay.pts(), quay.last_id());
    let post = json!({ "event": "post", "chat": quay.id, "from": AUTHOR, "text": "a" });
    assert_eq!(posted(&world, post.clone()), id + 1);
    assert_eq!(quay.pts(), pts + 1);
    posted(&world, post.clone());
    posted(&world, post);
    world.play(Event::Edit { chat: quay.id, id: id + 1, text: "b".to_owned() }).expect("happens");
    assert_eq!(quay.pts(), pts + 4);
    world.play(Event::Delete { chat: quay.id, ids: vec![id + 1, id + 2, id + 2, 999] }).expect("happens");
    assert_eq!(quay.pts(), pts + 6);
    world.play(Event::Counts { chat: quay.id, id: id + 3, views: Some(5), forwards: None }).expect("happens");
    assert_eq!(quay.pts(), pts + 6, "counts take none");
    let log: Vec<i32> = quay.log_after(pts, 100).iter().map(|entry| entry.pts).collect();
    assert_eq!(log, [pts + 1, pts + 2, pts + 3, pts + 4, pts + 6]);
    assert_eq!((quay.top(), quay.last_id()), (id + 3, id + 3));
}

#[test]
fn private_chats_and_groups_go_on_in_one_space() {
    let world = world();
    let (crew, maren) = (&world.chats()[1], &world.chats()[2]);
    let last = crew.last_id().max(maren.last_id());
    let ids = [
        posted(&world, json!({ "event": "post", "chat": crew.id, "from": AUTHOR, "text": "a" })),
        posted(&world, json!({ "event": "post", "chat": maren.id, "text": "b" })),
        posted(&world, json!({ "event": "title", "chat": crew.id, "title": "c" })),
    ];
    assert_eq!(ids, [last + 1, last + 2, last + 3]);
    assert_eq!(crew.ids_below(0).take(2).collect::<Vec<_>>(), [last + 3, last + 1]);
    assert_eq!(maren.ids_from(last).last(), Some(last + 2));
    assert_eq!(crew.title(), "c");
}

#[test]
fn a_wrong_event_names_its_field_and_changes_nothing() {
    let world = world();
    let quay = &world.chats()[0];
    let before = (quay.pts(), quay.title(), world.event_count());
    let id = quay.id;
    assert_eq!(
        wrong(&world, json!({ "event": "post", "chat": 5, "text": "a" })),
        "`chat`: no chat 5 in this world; GET /chats lists them"
    );
    assert!(wrong(&world, json!({ "event": "post", "chat": id, "text": "a" })).starts_with("`from`: is missing"));
    assert_eq!(wrong(&world, json!({ "event": "post", "chat": id, "from": 3, "text": "a" })), "`from`: no user 3 in this world");
    assert!(wrong(&world, json!({ "event": "edit", "chat": id, "id": 999, "text": "a" })).starts_with("`id`: no message 999"));
    assert!(wrong(&world, json!({ "event": "flood" })).contains("unknown variant `flood`"));
    assert!(wrong(&world, json!({ "event": "about", "chat": id, "about": "a", "colour": 1 })).contains("unknown field `colour`"));
    assert!(wrong(&world, json!({ "event": "post", "chat": id, "txt": "a" })).contains("unknown field `txt`"));
    assert!(wrong(&world, json!({ "event": "delete", "chat": id })).contains("missing field `ids`"));
    let two = json!({ "event": "album", "chat": id, "posts": [{ "from": AUTHOR, "text": "a" }, { "from": 3, "text": "b" }] });
    assert_eq!(wrong(&world, two), "`from`: no user 3 in this world");
    let option = json!({ "event": "vote", "chat": id, "id": 5, "option": 9 });
    assert!(wrong(&world, option).starts_with('`'));
    assert_eq!((quay.pts(), quay.title(), world.event_count()), before);
}

#[test]
fn the_same_events_make_the_same_world() {
    let told = || {
        let world = world();
        let quay = world.chats()[0].id;
        for n in 0..20 {
            let media = json!({ "photo": { "number": n } });
            let event =
                json!({ "event": "post", "chat": quay, "from": AUTHOR, "text": "a", "media": media, "date": 1_800_000_000 });
            posted(&world, event);
        }
        (quay, world)
    };
    let ((quay, one), (_, two)) = (told(), told());
    let messages = |chat: &Chat| chat.ids_from(1).filter_map(|id| chat.message(id)).collect::<Vec<_>>();
    let chat = one.chat(quay).expect("is there");
    assert_eq!(messages(chat), messages(two.chat(quay).expect("is there")));
    let photo = chat.message(chat.top()).and_then(|message| match message {
        grammers_tl_types::enums::Message::Message(message) => match message.media? {
            grammers_tl_types::enums::MessageMedia::Photo(media) => media.photo,
            _ => None,
        },
        _ => None,
    });
    let photo = photo.expect("a photo");
    assert!(one.file(photo.id()).is_some_and(|bytes| Some(bytes) == two.file(photo.id())));
}

#[test]
fn who_comes_and_goes_is_remembered() {
    let world = world();
    let quay = &world.chats()[0];
    let members = quay.member_count();
    let user = 5_100_000_009;
    let play = |event| world.play(event).expect("happens");
    play(Event::Join { chat: quay.id, user, by: Way::Link });
    play(Event::Promote { chat: quay.id, user, by: world.me, standing: Standing::Admin { rank: None } });
    play(Event::Ban { chat: quay.id, user, by: world.me, until: 0 });
    let told: Vec<(u64, Standing)> =
        world.standings(quay.id).expect("exists").into_iter().map(|stood| (stood.event, stood.standing)).collect();
    let wanted = [(1, Standing::Member), (2, Standing::Admin { rank: None }), (3, Standing::Banned { until: 0 })];
    assert_eq!(told, wanted);
    // the author was among the computed members from the beginning
    assert_eq!(quay.member_count(), members - 1);
    assert!(world.play(Event::Join { chat: quay.id, user, by: Way::Own }).is_err(), "is banned");
    assert_eq!(quay.stood_at(user, 2).map(|stood| stood.standing), Some(Standing::Admin { rank: None }));
    assert_eq!(quay.stood_at(user, 0), None);
}

#[test]
fn anyone_of_the_crowd_may_come_and_go() {
    let world = World::generated(7, [GeneratedChat::new(ChatKind::Supergroup, "quay", 50).members(400)]);
    let quay = &world.chats()[0];
    let last = quay.roster().newest_first().next().expect("somebody").user_id;
    assert!(!world.users().contains_key(&last), "computed, not kept");
    world.play(Event::Leave { chat: quay.id, user: last }).expect("happens");
    assert!(!quay.roster().contains(last));
    world.play(Event::Join { chat: quay.id, user: last, by: Way::Own }).expect("happens");
    assert!(quay.roster().contains(last));
    assert!(wrong(&world, json!({ "event": "leave", "chat": quay.id, "user": 17 })).starts_with("`user`: no user 17"));
}

#[test]
fn the_demo_script_fits_the_demo_world() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("worlds");
    let world = World::from_toml(&folder.join("demo.toml")).expect("is valid");
    let steps = script::read(&folder.join("demo-events.toml")).expect("is valid");
    for step in steps {
        let Deed::Event(timed) = step.deed else { panic!("no event") };
        world.play(timed).expect("happens");
    }
    assert!(!world.chat_named("harbour").expect("is there").exists(3_001));
}

#[test]
fn a_script_tells_its_place_when_it_is_wrong() {
    let folder = crate::world::tests::folder("script");
    let read = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writes");
        script::read(&path)
    };
    let lines = "{\"event\":\"about\",\"chat\":-7,\"about\":\"a\"}\n\n{\"event\":\"delete_user\",\"user\":3,\"after_ms\":1500,\"date\":9}\n";
    let steps = read("a.ndjson", lines).expect("is valid");
    assert_eq!(steps.iter().map(|step| step.after.as_millis()).collect::<Vec<_>>(), [0, 1500]);
    assert_eq!(steps[1].deed, Deed::Event(Timed { date: Some(9), event: Event::DeleteUser { user: 3 } }));
    let faults =
        "{\"fault\":\"cut\",\"share\":0.5}\n{\"push_faults\":{\"drop\":3},\"after_ms\":20}\n{\"heal\":true,\"after_ms\":30}\n";
    let deeds: Vec<Deed> = read("f.ndjson", faults).expect("is valid").into_iter().map(|step| step.deed).collect();
    let pushes = PushFaults { drop: 3, ..PushFaults::default() };
    assert_eq!(deeds, [Deed::Fault(Fault::new(FaultKind::Cut).share(0.5)), Deed::Pushes(pushes), Deed::Heal]);
    let toml = "[[event]]\nkind = \"about\"\nchat = -7\nabout = \"a\"\n[[event]]\nevent = \"about\"\nchat = -7\nabout = \"b\"\n";
    assert_eq!(read("a.toml", toml).expect("is valid").len(), 2);
    let told = |name: &str, text: &str| read(name, text).expect_err("is refused").to_string();
    assert!(told("b.ndjson", "{}\n").contains("b.ndjson: line 1: malformed event: missing field `event`"));
    assert!(told("b.ndjson", "{\"event\":\"about\"").contains("line 1: "));
    assert!(
        told("f.ndjson", "{\"fault\":\"cut\",\"share\":3}").contains("line 1: malformed event: `share` is between 0 and 1, not 3")
    );
    assert!(told("f.ndjson", "{\"fault\":\"earthquake\"}").contains("earthquake"));
    assert!(
        told("b.toml", "[[event]]\nkind = \"about\"\nchat = -7\n")
            .contains("b.toml: event 1: malformed event: missing field `about`")
    );
    assert!(told("c.toml", "a = 1\n").contains("no `[[event]]`"));
}

#[test]
fn a_message_that_was_touched_is_still_there() {
    let world = world();
    for chat in world.chats() {
        let ids: Vec<i32> = chat.ids_from(1).take(6).collect();
        for step in 0..60_i32 {
            let id = ids[(step % 6) as usize];
            let event = match step % 4 {
                0 => Event::Pin { chat: chat.id, id, by: None, silent: false },
                1 => Event::Counts { chat: chat.id, id, views: Some(step), forwards: None },
                2 => Event::Edit { chat: chat.id, id, text: format!("edited {step}") },
                _ => Event::React { chat: chat.id, id, user: AUTHOR + i64::from(step % 5), emoji: Some("👍".into()) },
            };
            let told = format!("{event:?}");
            let happened = world.play(event).is_ok();
            assert!(chat.message(id).is_some(), "{happened}: {told}");
        }
    }
}

#[test]
fn an_edit_of_an_old_message_moves_it_nowhere() {
    let world = World::generated(25, [GeneratedChat::new(ChatKind::Channel, "Harbour", 40)]);
    let chat = &world.chats()[0];
    let before: Vec<i32> = chat.ids_below(0).collect();
    world.play(Event::Edit { chat: chat.id, id: 7, text: "b".into() }).expect("happens");
    assert_eq!(chat.ids_below(0).collect::<Vec<_>>(), before);
    assert_eq!(chat.top(), before[0]);
}
