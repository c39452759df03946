//! What needs attention, and incidents, wherever they are told.

use axum::http::Method;
use serde_json::Value;
use sqlx::PgPool;

use crate::asking::Api;
use crate::installed::Installed;
use crate::pages::{looks, signed_in};

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_needs_attention_is_told_in_the_same_words_by_top_the_api_and_the_page(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    execute(
        &pool,
        "insert into incident (rule, subject, says, hint, opened_at) values
             ('holes_stay', '-1000000000005', 'chat -1000000000005 lacks 8 ids', 'fetch them', '2026-01-31 12:30+00'),
             ('account_lost', 'gone', 'account gone is lost: SESSION_REVOKED', 'sign it in again', '2026-01-31 12:31+00');
         insert into incident (rule, subject, says, hint, opened_at, closed_at) values
             ('jobs_wait', 'queue', 'the oldest job waited', 'start a node', now() - interval '2 hours', now() - interval '1 hour'),
             ('disk_low', 'here', 'the disk was full', 'make room', now() - interval '4 days', now() - interval '3 days');
         insert into account (label, session, session_key_id, state, state_reason) values
             ('gone', '', 'k', 'lost', 'SESSION_REVOKED'), ('left', '', 'k', 'lost', 'logged out by an operator'), ('stopped', '', 'k', 'held', 'by hand');
         insert into sink (name, state, detail) values ('elasticsearch', 'held', 'a mapping is refused');
         insert into dead_letter (sink, kind, key1, revision, reason) values ('elasticsearch', 'chat', 1, 1, 'x');
         insert into job (kind, payload, partition, state, error, hint) values ('chat_refresh', '{}', 0, 'held', 'no account', 'sign an account in');
         insert into workflow_pause (workflow, reason) values ('nightly', 'a test')",
    )
    .await;
    let api = Api::serves(&pool).await;
    let items = api.reads("/attention").await["items"].as_array().unwrap().clone();
    let told: Vec<(&str, &str)> = items.iter().map(|it| (it["severity"].as_str().unwrap(), it["what"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("critical", "account gone is lost: SESSION_REVOKED"),
            ("critical", "elasticsearch is held: a mapping is refused"),
            ("warning", "chat -1000000000005 lacks 8 ids"),
            ("warning", "account stopped is held: by hand"),
            ("warning", "held jobs of chat_refresh: 1; the newest says: no account"),
            ("warning", "elasticsearch refuses 1 documents"),
            ("warning", "no node works"),
            ("notice", "workflow nightly is paused: a test"),
        ]
    );
    assert_eq!((&items[0]["rule"], &items[0]["since"]), (&"account_lost".into(), &"2026-01-31T12:31:00Z".into()));
    assert_eq!(items[4]["hint"], "sign an account in");

    // By the real program, and by GraphQL. How long a sink is held is counted from now, and moves with the clocks.
    let top: Value = serde_json::from_str(&telekeep.does(&["top", "--json"])).unwrap();
    let words = |items: &[Value]| -> Vec<Vec<Value>> {
        items
            .iter()
            .map(|it| ["severity", "about", "rule", "what", "hint", "count", "target"].map(|name| it[name].clone()).to_vec())
            .collect()
    };
    assert_eq!(words(top["attention"].as_array().unwrap()), words(&items));
    let plain = telekeep.does(&["top"]);
    assert!(
        plain.contains("critical: account gone is lost: SESSION_REVOKED (since 2026-01-31 12:31 UTC). sign it in again"),
        "{plain}"
    );
    let asked = serde_json::json!({ "query": "{ attention { what hint rule since } incidents(state: OPEN) { items { rule openedAt } next } }" });
    let graph = api.asks(Method::POST, "/graphql", Some(&api.viewer), Some(asked)).await.json();
    assert!(graph["errors"].is_null(), "{graph}");
    assert_eq!(graph["data"]["attention"].as_array().unwrap().len(), items.len());
    assert_eq!(graph["data"]["incidents"]["items"].as_array().unwrap().len(), 2);

    let (cookie, _) = signed_in(&api, &api.viewer).await;
    let page = looks(&api, Method::GET, "/", &[("cookie", &cookie)], "").await.text();
    for (what, hint) in items.iter().map(|it| (it["what"].as_str().unwrap(), it["hint"].as_str().unwrap())) {
        assert!(page.contains(what) && page.contains(hint), "{what}. {hint}\n{page}");
    }
    assert!(page.contains("since 2026-01-31 12:31:00 UTC"), "{page}");
    assert!(page.contains("the oldest job waited") && !page.contains("the disk was full"), "what ended during the last day");
    assert!(page.contains("href=\"/chats/-1000000000005\"") && page.contains("href=\"/accounts/gone\""), "{page}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn incidents_are_listed_open_and_ended_in_pages_that_end(pool: PgPool) {
    execute(
        &pool,
        "insert into incident (rule, subject, says, hint, closed_at)
         select case n % 2 when 0 then 'holes_stay' else 'chat_silent' end, n::text, 'says', 'hint', case when n <= 3 then now() end
         from generate_series(1, 7) n",
    )
    .await;
    let api = Api::serves(&pool).await;
    let ids =
        |page: &Value| -> Vec<i64> { page["items"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect() };
    let all = ids(&api.reads("/incidents").await);
    assert!(all.len() == 7 && all.is_sorted_by(|a, b| a > b), "the newest first: {all:?}");
    let mut seen = Vec::new();
    let mut page = api.reads("/incidents?limit=3").await;
    loop {
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        page = api.reads(&format!("/incidents?limit=3&cursor={next}")).await;
    }
    assert_eq!(seen, all);
    assert_eq!(ids(&api.reads("/incidents?state=open").await), all[..4]);
    let ended = api.reads("/incidents?state=ended").await;
    assert_eq!(ids(&ended), all[4..]);
    assert!(ended["items"][0]["closed_at"].is_string() && ended["items"][0]["opened_at"].is_string());
    assert_eq!(ids(&api.reads("/incidents?rule=holes_stay&state=open").await).len(), 2);
    assert_eq!(ids(&api.reads("/incidents?rule=nothing").await), [] as [i64; 0]);
    for (query, field) in [("state=both", "state"), ("cursor=x", "cursor"), ("limit=0", "limit"), ("colour=red", "colour")] {
        let refused = api.asks(Method::GET, &format!("/incidents?{query}"), Some(&api.viewer), None).await;
        assert_eq!(refused.problem(), (422, "invalid".into(), field.into()), "{query}");
    }
    assert_eq!(api.asks(Method::GET, "/incidents", None, None).await.status, 401);
}
