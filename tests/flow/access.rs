//! Who may use the API: tokens, roles, sessions, links, limits; and that nothing leaks.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::json;
use sqlx::PgPool;
use telekeep::record::token::{self, Role};

use crate::asking::{Answer, Api, Wish, token_of};
use crate::installed::Installed;

async fn with_header(api: &Api, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = api.request(method, path, None);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.sends(request.body(Full::from(Bytes::from(body.to_owned()))).unwrap()).await
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_token_that_is_wrong_expired_missing_or_revoked_lets_nobody_in(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let expired = token_of(&pool, "old", Role::Admin, Some(-1.0)).await;
    let revoked = token_of(&pool, "gone", Role::Admin, None).await;
    assert!(token::revoke(&mut pool.acquire().await.unwrap(), "gone").await.unwrap());
    let other = format!("{}x", &api.admin[..api.admin.len() - 1]);
    for wrong in [None, Some(expired.as_str()), Some(&revoked), Some(&other), Some("' or 1=1 --"), Some("")] {
        let answer = api.asks(Method::GET, "/accounts", wrong, None).await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into(), String::new()), "{wrong:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    for scheme in ["Basic YTpi", "Bearer", "bearer  "] {
        assert_eq!(
            with_header(&api, Method::GET, "/api/v1/accounts", &[("authorization", scheme)], "").await.status,
            401,
            "{scheme}"
        );
    }
    assert_eq!(api.asks(Method::GET, "/accounts", Some(&api.viewer), None).await.status, 200);
    // The name is free again, and the old token stays without effect.
    let again = token_of(&pool, "gone", Role::Viewer, None).await;
    assert_eq!(api.asks(Method::GET, "/accounts", Some(&again), None).await.status, 200);
    assert_eq!(api.asks(Method::GET, "/accounts", Some(&revoked), None).await.status, 401);
    let used: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select used_at from api_token where name = 'reader'").fetch_one(&pool).await.unwrap();
    assert!(used.is_some());
}

/// A path of the description with parameters that name nothing.
fn filled(path: &str) -> String {
    let parts = path.trim_start_matches("/api/v1").split('/').map(|it| match it {
        "{id}" | "{message}" | "{user}" => "7",
        it if it.starts_with('{') => "nothing",
        it => it,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Every route that changes something, with parameters that name nothing.
fn changes(api: &Api) -> Vec<(Method, String)> {
    let mut all = Vec::new();
    for (path, item) in api.document["paths"].as_object().unwrap() {
        for (method, _) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if !method.is_safe() {
                all.push((method, filled(path)));
            }
        }
    }
    all
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_viewer_changes_nothing_and_an_operator_nothing_of_admins(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let changes = changes(&api);
    assert!(changes.len() >= 25, "{changes:?}");
    // These read, or are about who asks.
    let reading = ["/graphql", "/workflow-checks", "/session", "/sessions"];
    for (method, path) in changes.iter().filter(|(_, path)| !reading.contains(&path.as_str())) {
        let answer = api.asks(method.clone(), path, Some(&api.viewer), Some(json!({}))).await;
        assert_eq!(answer.problem().1, "forbidden", "{method} {path}");
        assert_eq!(api.asks(method.clone(), path, None, Some(json!({}))).await.status, 401, "{method} {path}");
        let of_admins = ["/accounts", "/sign-ins", "/tokens", "/proxies", "/nodes"].iter().any(|it| path.starts_with(it));
        let status = api.asks(method.clone(), path, Some(&api.operator), Some(json!({}))).await.status;
        assert_eq!(status == StatusCode::FORBIDDEN, of_admins, "{method} {path}: {status}");
    }
    let log: i64 = sqlx::query_scalar("select count(*) from audit_log").fetch_one(&pool).await.unwrap();
    assert_eq!(log, 0, "nothing was done");
    // Reading without a token is refused everywhere but where the way in is described.
    for (path, item) in api.document["paths"].as_object().unwrap() {
        if item.get("get").is_some() {
            let path = filled(path);
            assert_eq!(api.asks(Method::GET, &path, None, None).await.status, 401, "{path}");
        }
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_browser_signs_in_by_token_and_changes_only_with_its_csrf_token(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let json = ("content-type", "application/json");
    let refused = with_header(&api, Method::POST, "/api/v1/sessions", &[json], "{\"token\": \"tkp_wrong\"}").await;
    assert_eq!(refused.problem().0, 401);
    // A form of another site cannot sign anybody in.
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(with_header(&api, Method::POST, "/api/v1/sessions", &[form], "token=x").await.problem().0, 415);
    let body = format!("{{\"token\": \"{}\"}}", api.operator);
    let signed_in = with_header(&api, Method::POST, "/api/v1/sessions", &[json], &body).await;
    assert_eq!(signed_in.status, 204);
    let cookie = signed_in.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"), "{cookie}");
    assert!(!cookie.contains(&api.operator), "the cookie is not the token");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let me = with_header(&api, Method::GET, "/api/v1/session", &[("cookie", &cookie)], "").await.json();
    assert_eq!((me["who"].as_str(), me["role"].as_str()), (Some("token:operator"), Some("operator")));
    let csrf = me["csrf"].as_str().unwrap().to_owned();

    let pause = |headers: Vec<(&'static str, String)>| {
        let (api, cookie) = (&api, cookie.clone());
        async move {
            let mut all = vec![("cookie", cookie), ("content-type", "application/json".to_owned())];
            all.extend(headers);
            let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
            with_header(api, Method::PUT, "/api/v1/kinds/chat_refresh/pause", &all, "{\"paused\": true}").await.status.as_u16()
        }
    };
    assert_eq!(pause(vec![]).await, 403);
    assert_eq!(pause(vec![("x-csrf-token", "wrong".into())]).await, 403);
    assert_eq!(pause(vec![("x-csrf-token", csrf.clone()), ("origin", "https://elsewhere.example".into())]).await, 403);
    assert_eq!(pause(vec![("x-csrf-token", csrf.clone()), ("origin", format!("http://{}", api.address))]).await, 204);
    assert_eq!(pause(vec![("x-csrf-token", csrf.clone())]).await, 204);

    // The session ends with its token.
    assert!(token::revoke(&mut pool.acquire().await.unwrap(), "operator").await.unwrap());
    let over = with_header(&api, Method::GET, "/api/v1/session", &[("cookie", &cookie)], "").await;
    assert_eq!(over.problem().0, 401);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_first_link_lets_one_browser_in_once(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    let api = Api::serves(&pool).await;
    let link = telekeep.does(&["token", "link"]);
    let path = format!("/first/{}", link.trim().rsplit('/').next().unwrap());
    // What only looks (a preview of the link) does not use it up.
    assert_eq!(with_header(&api, Method::HEAD, &path, &[], "").await.status, 405);
    let used = with_header(&api, Method::GET, &path, &[], "").await;
    assert_eq!((used.status.as_u16(), used.header("location")), (303, "/"));
    assert_eq!(used.header("referrer-policy"), "same-origin");
    let cookie = used.header("set-cookie").split(';').next().unwrap().to_owned();
    let me = with_header(&api, Method::GET, "/api/v1/session", &[("cookie", &cookie)], "").await.json();
    assert_eq!((me["who"].as_str(), me["role"].as_str()), (Some("link"), Some("admin")));
    assert_eq!(with_header(&api, Method::GET, &path, &[], "").await.problem().0, 404);

    let earlier = telekeep.does(&["token", "link"]);
    let later = telekeep.does(&["token", "link"]);
    let path = |link: &str| format!("/first/{}", link.trim().rsplit('/').next().unwrap());
    assert_eq!(with_header(&api, Method::GET, &path(&earlier), &[], "").await.status, 404, "a later link ends the earlier one");
    sqlx::query("update first_link set expires_at = now() - interval '1 second'").execute(&pool).await.unwrap();
    assert_eq!(with_header(&api, Method::GET, &path(&later), &[], "").await.status, 404, "its time is over");
    for hostile in ["/first/x", "/first/tkl_%00", "/first/%2e%2e%2f"] {
        assert_eq!(with_header(&api, Method::GET, hostile, &[], "").await.status, 404, "{hostile}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn tokens_are_made_listed_and_revoked_by_commands_and_noted(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    let api = Api::serves(&pool).await;
    let made = telekeep.does(&["token", "create", "press-office", "--role", "viewer", "--expires", "30d"]);
    let secret = made.trim();
    assert!(secret.starts_with("tkp_") && secret.len() == 47, "the token alone, on its line");
    assert_eq!(api.asks(Method::GET, "/chats", Some(secret), None).await.status, 200);
    let listed = telekeep.does(&["token", "list", "--json"]);
    assert!(!listed.contains(secret) && listed.contains("press-office"));
    assert!(
        telekeep.refuses(&["token", "create", "press-office", "--role", "admin"]).contains("there is a token press-office already")
    );
    assert!(telekeep.refuses(&["token", "create", "x y", "--role", "admin"]).contains("is no name for a token"));
    assert!(telekeep.refuses(&["token", "create", "x", "--role", "admin", "--expires", "soon"]).contains("write it as 30d"));
    telekeep.does(&["token", "revoke", "press-office"]);
    assert_eq!(api.asks(Method::GET, "/chats", Some(secret), None).await.status, 401);
    assert!(telekeep.refuses(&["token", "revoke", "press-office"]).contains("there is no token press-office"));

    // By HTTP, too: told once.
    let made = api.does(Method::POST, "/tokens", json!({ "name": "robot", "role": "operator", "expires_days": 7 })).await;
    assert_eq!(made.status, 201);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(api.asks(Method::GET, "/chats", Some(&secret), None).await.status, 200);
    assert!(!api.asks(Method::GET, "/tokens", Some(&api.admin), None).await.text().contains(&secret));
    assert_eq!(api.does(Method::POST, "/tokens", json!({ "name": "robot", "role": "viewer" })).await.problem().1, "conflict");
    assert_eq!(api.does(Method::POST, "/tokens", json!({ "name": "", "role": "viewer" })).await.problem().2, "name");
    assert_eq!(api.does(Method::POST, "/tokens", json!({ "name": "x", "role": "king" })).await.problem().2, "role");
    assert_eq!(api.asks(Method::DELETE, "/tokens/robot", Some(&api.admin), None).await.status, 204);
    assert_eq!(api.asks(Method::GET, "/chats", Some(&secret), None).await.status, 401);

    let log = api.reads("/audit-log?what=token").await;
    let noted: Vec<(&str, &str)> =
        log["items"].as_array().unwrap().iter().map(|it| (it["what"].as_str().unwrap(), it["target"].as_str().unwrap())).collect();
    assert_eq!(
        noted,
        [
            ("token.revoke", "token robot"),
            ("token.create", "token robot"),
            ("token.revoke", "token press-office"),
            ("token.create", "token press-office")
        ]
    );
    let who: BTreeSet<&str> = log["items"].as_array().unwrap().iter().map(|it| it["who"].as_str().unwrap()).collect();
    assert!(who.contains("token:boss") && who.iter().any(|who| who.starts_with("cli:")), "{who:?}");
    assert!(!log.to_string().contains("tkp_"));
    for statement in ["delete from audit_log", "update audit_log set who = 'nobody'", "truncate audit_log"] {
        let refused = sqlx::query(statement).execute(&pool).await.unwrap_err().to_string();
        assert!(refused.contains("append only"), "{refused}");
    }
    // What is kept of a token opens nothing.
    let kept: Vec<String> = sqlx::query_scalar("select t::text from api_token t").fetch_all(&pool).await.unwrap();
    assert!(kept.iter().all(|row| !row.contains(&secret) && !row.contains(&api.admin)));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_asks_too_often_waits_and_others_do_not(pool: PgPool) {
    let configure: fn(&mut telekeep::config::Config) = |config| {
        (config.http.requests_per_second, config.http.burst, config.http.strangers_per_minute) = (1, 5, 3);
    };
    let api = Api::as_wished(&pool, Wish { configure, ..Wish::default() }).await;
    let mut refused = 0;
    for _ in 0..12 {
        let answer = api.asks(Method::GET, "/session", Some(&api.viewer), None).await;
        if answer.status == 429 {
            assert_eq!(answer.problem().1, "too-many-requests");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            refused += 1;
        }
    }
    assert!(refused >= 4, "{refused}");
    assert_eq!(api.asks(Method::GET, "/session", Some(&api.operator), None).await.status, 200, "another token is not meant");
    let statuses: Vec<u16> = {
        let mut all = Vec::new();
        for _ in 0..6 {
            all.push(api.asks(Method::GET, "/session", Some("tkp_x"), None).await.status.as_u16());
        }
        all
    };
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    assert_eq!(
        api.asks(Method::GET, "/session", Some(&api.admin), None).await.status,
        200,
        "who is known may ask from that address"
    );
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn every_answer_is_safe_for_browsers_and_has_an_id_of_ours(pool: PgPool) {
    let api = Api::serves(&pool).await;
    for path in [
        "/api",
        "/api/browse/index.html",
        "/api/browse/swagger-ui-bundle.js",
        "/api/v1/openapi.json",
        "/api/v1/chats",
        "/nothing",
        "/first/x",
    ] {
        let answer = with_header(&api, Method::GET, path, &[("x-request-id", "forged\u{7f}".trim_end_matches('\u{7f}'))], "").await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(uuid::Uuid::parse_str(answer.header("x-request-id")).is_ok(), "{path}: none is taken from outside");
        assert_eq!(answer.header("strict-transport-security"), "", "not without TLS");
    }
    let page = with_header(&api, Method::GET, "/api/browse/index.html", &[], "").await.text();
    assert!(
        !page.contains("<style") && !page.contains("<script>") && !page.contains("http://") && !page.contains("https://"),
        "{page}"
    );
    for hostile in ["/api/browse/..%2f..%2fCargo.toml", "/api/browse/%2e%2e", "/api/browse/nothing.js"] {
        assert_eq!(with_header(&api, Method::GET, hostile, &[], "").await.status, 404, "{hostile}");
    }
    assert_eq!(with_header(&api, Method::TRACE, "/api/v1/chats", &[], "").await.status.as_u16() / 100, 4);
}

#[test]
fn plain_http_is_for_loopback_unless_somebody_says_otherwise() {
    use telekeep::config;
    use telekeep::http::server::{Error, listen};
    let mut http = config::Http::default();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let refused = listen(&http, everywhere).err().unwrap();
    assert!(matches!(refused, Error::Plain(_)) && refused.to_string().contains("plain = true"), "{refused}");
    assert!(listen(&http, "127.0.0.1:0".parse().unwrap()).is_ok());
    http.plain = true;
    assert!(listen(&http, everywhere).is_ok());
    http.certificate = Some("nowhere.pem".into());
    assert!(matches!(listen(&http, everywhere), Err(Error::Half)));
    http.key = Some("nowhere.key".into());
    let told = listen(&http, everywhere).err().unwrap().to_string();
    assert!(told.contains("nowhere.pem"), "{told}");
}
