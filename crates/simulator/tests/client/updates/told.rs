//! What reads tell of what happened: threads, topics, counts, a group that became a supergroup, the truth at past moments.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn comments_stand_below_a_post_in_the_linked_group() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let (harbour, quay) = (chat(&simulator, "Harbour"), chat(&simulator, "Quay"));
    play(&simulator, Event::Link { chat: harbour.id, group: quay.id });
    let record = simulator.play(post(harbour.id, "a post")).expect("happens");
    let posted: Vec<(i64, i32)> = record.posted().collect();
    let [(_, id), (group, copy)] = posted[..] else { panic!("a post and its copy, not {posted:?}") };
    assert_eq!(group, quay.id);
    for n in 0..3 {
        play(&simulator, Event::Comment { chat: harbour.id, id, from: AUTHOR, text: format!("comment {n}") });
    }
    let input = resolved(&client, "harbour").await;
    let call = tl::functions::messages::GetDiscussionMessage { peer: peer(&input), msg_id: id };
    let tl::enums::messages::DiscussionMessage::Message(told) = client.invoke(&call).await.expect("the copy");
    assert_eq!(told.messages.iter().map(tl::enums::Message::id).collect::<Vec<_>>(), [copy]);
    let call = tl::functions::messages::GetReplies {
        peer: peer(&input),
        msg_id: id,
        offset_id: 0,
        offset_date: 0,
        add_offset: 0,
        limit: 2,
        max_id: 0,
        min_id: 0,
        hash: 0,
    };
    let page = client.invoke(&call).await.expect("comments");
    assert_eq!(ids(&page), [copy + 3, copy + 2]);
    let call = tl::functions::messages::GetMessagesViews { peer: peer(&input), id: vec![id], increment: false };
    let tl::enums::messages::MessageViews::Views(views) = client.invoke(&call).await.expect("views");
    let tl::enums::MessageViews::Views(views) = &views.views[0];
    let Some(tl::enums::MessageReplies::Replies(replies)) = &views.replies else { panic!("no replies") };
    assert_eq!((replies.comments, replies.replies, replies.channel_id), (true, 3, Some(quay.bare_id())));
}

#[tokio::test]
async fn pins_reactions_counts_votes_and_albums_are_told() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let harbour = chat(&simulator, "Harbour").id;
    // When this is heard, the client has caught up, and everything else is pushed.
    play(&simulator, post(harbour, "ready"));
    listener.hears("ready").await;
    let photo = |number| Post { media: Some(Attached::Photo { number }), ..Post::default() };
    let album = simulator.play(Event::Album { chat: harbour, posts: vec![photo(1), photo(2)] }).expect("happens");
    let album: Vec<i32> = album.posted().map(|(_, id)| id).collect();
    let answers = vec!["yes".to_owned(), "no".to_owned()];
    let poll = Post { media: Some(Attached::Poll { question: "?".to_owned(), answers }), ..Post::default() };
    let poll = play(&simulator, Event::Post { chat: harbour, post: poll })[0];
    play(&simulator, Event::Vote { chat: harbour, id: poll, option: 1, votes: 4 });
    play(&simulator, Event::React { chat: harbour, id: poll, user: AUTHOR, emoji: Some("🔥".to_owned()) });
    play(&simulator, Event::Counts { chat: harbour, id: poll, views: Some(77), forwards: Some(3) });
    play(&simulator, Event::Pin { chat: harbour, id: poll, by: None, silent: true });
    play(&simulator, post(harbour, "the end"));
    let (mut views, mut reactions, mut votes, mut pinned) = (0, 0, 0, Vec::new());
    loop {
        use tl::enums::Update as U;
        match listener.next().await {
            U::ChannelMessageViews(update) => views = update.views,
            U::MessageReactions(update) => {
                let tl::enums::MessageReactions::Reactions(told) = update.reactions;
                reactions = told.results.len();
            }
            U::MessagePoll(update) => {
                let tl::enums::PollResults::Results(told) = update.results;
                votes = told.total_voters.unwrap_or(0);
            }
            U::PinnedChannelMessages(update) => pinned = update.messages,
            U::NewChannelMessage(update) if update.message.id() > poll => break,
            _ => {}
        }
    }
    assert_eq!((views, reactions, votes, pinned), (77, 1, 4, vec![poll]));

    let input = resolved(&listener.client, "harbour").await;
    let page = listener.client.invoke(&get_history(peer(&input))).await.expect("a page");
    let groups: Vec<Option<i64>> = content(&page)
        .iter()
        .filter(|message| album.contains(&message.id()))
        .map(|message| match message {
            tl::enums::Message::Message(message) => message.grouped_id,
            _ => None,
        })
        .collect();
    assert!(groups.len() == 2 && groups[0].is_some() && groups[0] == groups[1], "{groups:?}");
    let call = tl::functions::messages::Search {
        peer: peer(&input),
        q: String::new(),
        from_id: None,
        saved_peer_id: None,
        saved_reaction: None,
        top_msg_id: None,
        filter: tl::enums::MessagesFilter::InputMessagesFilterPinned,
        min_date: 0,
        max_date: 0,
        offset_id: 0,
        add_offset: 0,
        limit: 10,
        max_id: 0,
        min_id: 0,
        hash: 0,
    };
    assert_eq!(ids(&listener.client.invoke(&call).await.expect("a page")), [poll]);
    let call = tl::functions::messages::GetMessagesReactions { peer: peer(&input), id: vec![poll] };
    let tl::enums::Updates::Updates(told) = listener.client.invoke(&call).await.expect("reactions") else { panic!("other") };
    assert_eq!(told.updates.len(), 1);
}

#[tokio::test]
async fn a_forum_lists_its_topics() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let quay = chat(&simulator, "Quay");
    play(&simulator, Event::Forum { chat: quay.id, on: true });
    let topics = ["Ropes", "Nets"].map(|title| {
        let event = Event::Topic { chat: quay.id, title: title.to_owned(), by: AUTHOR };
        play(&simulator, event)[0]
    });
    let said = Post { topic: Some(topics[0]), ..Post::said(AUTHOR, "a knot") };
    let id = play(&simulator, Event::Post { chat: quay.id, post: said })[0];
    let input = resolved(&client, "quay").await;
    let call = tl::functions::messages::GetForumTopics {
        peer: peer(&input),
        q: None,
        offset_date: 0,
        offset_id: 0,
        offset_topic: 0,
        limit: 10,
    };
    let tl::enums::messages::ForumTopics::Topics(told) = client.invoke(&call).await.expect("topics");
    let lines: Vec<(i32, String, i32)> = told
        .topics
        .into_iter()
        .map(|topic| match topic {
            tl::enums::ForumTopic::Topic(topic) => (topic.id, topic.title, topic.top_message),
            other => panic!("no topic: {other:?}"),
        })
        .collect();
    assert_eq!(lines[..2], [(topics[0], "Ropes".to_owned(), id), (topics[1], "Nets".to_owned(), topics[1])]);
    assert_eq!((told.count, lines.len(), told.pts), (3, 3, quay.pts()));
}

#[tokio::test]
async fn a_group_becomes_a_supergroup() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let group = chat(&simulator, "Night shift");
    play(&simulator, Event::Migrate { chat: group.id, to: None });
    let to = group.migrated_to().expect("has moved");
    play(&simulator, Event::Post { chat: to, post: Post::said(AUTHOR, "in the new room") });
    listener.hears("in the new room").await;
    let call = tl::functions::messages::GetChats { id: vec![group.bare_id()] };
    let tl::enums::messages::Chats::Chats(told) = listener.client.invoke(&call).await.expect("the group") else {
        panic!("a slice")
    };
    let Some(tl::enums::Chat::Chat(told)) = told.chats.into_iter().next() else { panic!("no group") };
    let Some(tl::enums::InputChannel::Channel(input)) = told.migrated_to else { panic!("does not say where to") };
    assert!(told.deactivated);
    let call = tl::functions::channels::GetFullChannel { channel: input.clone().into() };
    let tl::enums::messages::ChatFull::Full(full) = listener.client.invoke(&call).await.expect("the full chat");
    let tl::enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("no channel") };
    assert_eq!((full.migrated_from_chat_id, full.migrated_from_max_id), (Some(group.bare_id()), Some(group.last_id())));
    let page = listener.client.invoke(&get_history(peer(&input))).await.expect("a page");
    assert_eq!(ids(&page), [2, 1]);
}

#[tokio::test]
async fn the_truth_of_any_past_moment_is_kept() {
    let simulator = simulator().await;
    let harbour = chat(&simulator, "Harbour").id;
    let at_first = simulator.truth(harbour).expect("the chat");
    let date = at_first.last().map_or(0, |truth| i32::try_from(truth.content.date).expect("fits") + 10);
    let at = |date: i32, event: Event| simulator.play(Timed { date: Some(date), event }).expect("happens");
    let id = at(date, post(harbour, "first words")).posted().next().expect("a message").1;
    let before_edit = simulator.truth(harbour).expect("the chat");
    at(date + 5, Event::Edit { chat: harbour, id, text: "second words".to_owned() });
    at(date + 9, Event::Delete { chat: harbour, ids: vec![id, 4] });
    let world = simulator.world();
    let told = |event| world.truth_at(harbour, event).expect("the chat").collect::<Vec<_>>();
    assert_eq!((told(0), told(1), told(3)), (at_first, before_edit, simulator.truth(harbour).expect("the chat")));
    assert_eq!([date - 1, date, date + 6, date + 9].map(|date| world.event_at(date)), [0, 1, 2, 3]);
    let versions = world.versions(harbour).expect("the chat");
    let lines: Vec<_> = versions.iter().map(|line| (line.message_id, line.what, line.event)).collect();
    assert_eq!(lines, [(4, "born", 0), (4, "deleted", 3), (id, "posted", 1), (id, "edited", 2), (id, "deleted", 3)]);
    let early = simulator.play(Timed { date: Some(date), event: post(harbour, "too late") }).expect_err("is refused");
    assert!(early.to_string().starts_with("`date`: "), "{early}");
}

/// Status line and body.
async fn http(simulator: &Simulator, request: &str, body: &str) -> (String, String) {
    let address = simulator.control_url();
    let mut stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.expect("connects");
    let length = body.len();
    let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_control_port_plays_events_and_names_what_is_wrong() {
    let simulator = simulator().await;
    let harbour = chat(&simulator, "Harbour").id;
    let events = format!(
        "{{\"event\":\"post\",\"chat\":{harbour},\"text\":\"by the port\"}}\n\
         {{\"event\":\"title\",\"chat\":{harbour},\"title\":\"Port\"}}\n\
         {{\"event\":\"post\",\"chat\":{harbour},\"txt\":\"wrong\"}}\n"
    );
    let (status, body) = http(&simulator, "POST /events", &events).await;
    assert!(status.contains("400"), "{status}");
    assert!(body.contains("line 3: malformed event: unknown field `txt`") && body.contains("2 events before it"), "{body}");
    let (status, body) = http(&simulator, "POST /events", "{\"event\":\"edit\",\"chat\":1,\"id\":2,\"text\":\"a\"}").await;
    assert!(status.contains("400") && body.contains("`chat`: no chat 1 in this world"), "{body}");
    let (_, body) = http(&simulator, "GET /events?from=2", "").await;
    assert!(body.contains("\"title\":\"Port\"") && !body.contains("by the port"), "{body}");
    let (_, body) = http(&simulator, &format!("GET /truth/{harbour}/at?event=1"), "").await;
    assert!(body.contains("by the port"));
    let (_, body) = http(&simulator, &format!("GET /truth/{harbour}/at?event=0"), "").await;
    assert!(!body.contains("by the port"));
    assert_eq!(chat(&simulator, "Harbour").title(), "Port");
}
