//! A change by HTTP and its note in the audit log: both, or neither.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::api::{ids, jobs};
use crate::asking::Api;
use crate::installation::until;

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_cannot_be_noted_is_not_done(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let all = jobs(&pool).await;
    let execute = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    execute(
        "insert into account (label, session, session_key_id) values ('keeper', '', 'k'), ('stopped', '', 'k');
         update account set state = 'held', state_reason = 'by hand' where label = 'stopped';
         insert into proxy (name, host, port, pooled) values ('berlin', '127.0.0.1', 1080, false);
         insert into partition (id) values (7);
         insert into kind_paused (kind) values ('chat_join');
         create function full_log() returns trigger language plpgsql as $$ begin raise exception 'the log is full'; end $$;
         create trigger full_log before insert on audit_log for each row execute function full_log()",
    )
    .await;
    let changes = [
        (Method::POST, format!("/jobs/{}/actions", all[1]), json!({ "action": "retry" })),
        (
            Method::POST,
            "/jobs/actions".into(),
            json!({ "action": "cancel", "filter": { "kind": "history_fetch", "state": "available" }, "expected": 4 }),
        ),
        (Method::PUT, "/kinds/history_fetch/pause".into(), json!({ "paused": true })),
        (Method::PUT, "/kinds/chat_join/pause".into(), json!({ "paused": false })),
        (Method::PUT, "/partitions/7/pause".into(), json!({ "paused": true })),
        (Method::POST, "/accounts/keeper/hold".into(), json!({ "reason": "a test" })),
        (Method::POST, "/accounts/stopped/release".into(), json!({})),
        (Method::PUT, "/accounts/keeper/nodes".into(), json!({ "nodes": ["a"] })),
        (Method::PUT, "/accounts/keeper/proxy".into(), json!({ "to": "pool" })),
        (Method::POST, "/proxies".into(), json!({ "name": "hamburg", "url": "socks5://127.0.0.1:1080" })),
        (Method::DELETE, "/proxies/berlin".into(), Value::Null),
    ];
    // All that these changes touch.
    let stands = async || -> Value {
        sqlx::query_scalar(
            "select jsonb_build_object(
                'jobs', (select jsonb_agg(jsonb_build_array(id, state, hint) order by id) from job),
                'kinds', (select jsonb_agg(kind order by kind) from kind_paused),
                'partition', (select paused from partition where id = 7),
                'accounts', (select jsonb_agg(jsonb_build_array(label, state, to_jsonb(a)) order by id) from account a),
                'pins', (select jsonb_agg(node) from account_pin),
                'routes', (select jsonb_agg(to_jsonb(r) order by label) from account_route r),
                'proxies', (select jsonb_agg(name order by name) from proxy))",
        )
        .fetch_one(&pool)
        .await
        .unwrap()
    };
    let before = stands().await;
    for (method, path, body) in &changes {
        let body = Some(body.clone()).filter(|body| !body.is_null());
        let refused = api.asks(method.clone(), path, Some(&api.admin), body).await;
        assert_eq!(refused.problem().1, "internal", "{method} {path}: {}", refused.text());
        assert!(!refused.text().contains("full"), "nothing internal is told");
        assert_eq!(stands().await, before, "{method} {path}");
    }
    execute("drop trigger full_log on audit_log").await;
    for (method, path, body) in &changes {
        let body = Some(body.clone()).filter(|body| !body.is_null());
        let done = api.asks(method.clone(), path, Some(&api.admin), body).await;
        // The job that is retried first is one more by then.
        let done = if done.status == 409 {
            let body = json!({ "action": "cancel", "filter": { "kind": "history_fetch", "state": "available" }, "expected": 5 });
            api.asks(method.clone(), path, Some(&api.admin), Some(body)).await
        } else {
            done
        };
        assert!(done.status.is_success(), "{method} {path}: {}", done.text());
    }
    let log = api.reads("/audit-log").await["items"].clone();
    assert_eq!(log.as_array().unwrap().len(), changes.len(), "each once: {log}");
    let cancelled = log.as_array().unwrap().iter().find(|it| it["what"] == "job.cancel").unwrap();
    assert_eq!(cancelled["detail"]["touched"], 5);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_job_that_somebody_has_locked_is_waited_for_and_noted_by_itself(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let all = jobs(&pool).await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query("select id from job where id = $1 for update").bind(all[0]).execute(&mut *held).await.unwrap();
    let body = json!({ "action": "hold", "filter": { "ids": [all[0], all[4]] }, "expected": 2 });
    let asking = api.asks(Method::POST, "/jobs/actions", Some(&api.operator), Some(body));
    let letting_go = async {
        until("the one that is free", || async {
            sqlx::query_scalar::<_, String>("select state from job where id = $1").bind(all[4]).fetch_one(&pool).await.unwrap()
                == "held"
        })
        .await;
        held.commit().await.unwrap();
    };
    let (done, ()) = tokio::join!(asking, letting_go);
    assert_eq!(done.json()["touched"], 2, "{}", done.text());
    assert!(ids(&api.reads("/jobs?state=held").await).contains(&all[0]));
    let log = api.reads("/audit-log?what=job").await["items"].clone();
    let noted: Vec<(&str, i64)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["target"].as_str().unwrap(), it["detail"]["touched"].as_i64().unwrap()))
        .collect();
    assert_eq!(noted, [(&*format!("job {}", all[0]), 1), ("jobs", 1)]);
}
