//! Pages as a browser without JavaScript gets them: what they say, where forms lead, what they refuse.

use axum::http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, GeneratedChat};

use crate::asking::{Answer, Api, Wish};
use crate::enduring::way;
use crate::installation::until;
use crate::installed::{Installed, datacentre};

/// Asks as a browser does.
pub async fn looks(api: &Api, method: Method, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
    let mut request = api.request(method, path, None).header("accept", "text/html,application/xhtml+xml");
    request = request.header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.sends(request.body(Full::from(form.to_owned())).unwrap()).await
}

/// Signs a browser in; gives its cookie and its CSRF token.
pub async fn signed_in(api: &Api, token: &str) -> (String, String) {
    let signed_in = looks(api, Method::POST, "/sign-in", &[], &format!("token={token}&then=%2Fjobs")).await;
    assert_eq!((signed_in.status.as_u16(), signed_in.header("location")), (303, "/jobs"), "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = looks(api, Method::GET, "/", &[("cookie", &cookie)], "").await.text();
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (cookie, csrf)
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_page_is_drawn_and_markup_in_names_is_text(pool: PgPool) {
    let name = "<script>taken()</script>";
    let datacentre = datacentre(World::generated(7, [GeneratedChat::new(ChatKind::Channel, name, 60).named("harbour")])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let api = Api::serves(&pool).await;
    let (cookie, _) = signed_in(&api, &api.admin).await;
    let job: i64 = sqlx::query_scalar("select max(id) from job").fetch_one(&pool).await.unwrap();
    for path in [
        "/".to_owned(),
        "/jobs".into(),
        "/jobs?state=done&kind=&chat=&error=".into(),
        format!("/jobs/{job}"),
        "/jobs/batch?action=cancel&state=available".into(),
        "/chats".into(),
        format!("/chats/{chat}"),
        format!("/chats/{chat}?from=10&to=20"),
        format!("/chats/{chat}/bar"),
        format!("/chats/{chat}/members"),
        format!("/chats/{chat}/messages"),
        format!("/chats/{chat}/messages?around=30"),
        format!("/chats/{chat}/messages?date=2020-01-31"),
        format!("/chats/{chat}/messages/60"),
        "/search".into(),
        "/search?text=the&sort=newest".into(),
        "/accounts".into(),
        "/accounts/keeper".into(),
        "/proxies".into(),
        "/sign-ins".into(),
        "/workflows".into(),
        "/workflows/new-chat".into(),
        "/files".into(),
        "/nodes".into(),
        "/audit-log".into(),
        "/tokens".into(),
        "/settings".into(),
    ] {
        let page = looks(&api, Method::GET, &path, &[("cookie", &cookie)], "").await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let text = page.text();
        for inline in
            ["<script>", " style=\"", "<style", " onclick=", "\"javascript:", "src=\"http", "href=\"http", "action=\"http"]
        {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
    }
    let chats = looks(&api, Method::GET, "/chats", &[("cookie", &cookie)], "").await.text();
    assert!(chats.contains("taken()"), "the name is there, as text");
    for asset in ["style.css", "theme.js", "pages.js", "htmx.min.js", "icon.svg"] {
        assert_eq!(looks(&api, Method::GET, &format!("/assets/{asset}"), &[], "").await.status, 200, "{asset}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn forms_need_their_session_and_what_is_refused_is_a_page(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let away = looks(&api, Method::GET, "/jobs?state=dead", &[], "").await;
    assert_eq!((away.status.as_u16(), away.header("location")), (303, "/sign-in?then=%2Fjobs%3Fstate%3Ddead"));
    let wrong = looks(&api, Method::POST, "/sign-in", &[], "token=tkp_wrong&then=%2F").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("content-type").starts_with("text/html") && wrong.text().contains("the token is wrong"));
    let elsewhere = looks(&api, Method::POST, "/sign-in", &[], &format!("token={}&then=%2F%2Felsewhere.example", api.viewer)).await;
    assert_eq!(elsewhere.header("location"), "/", "it leads nowhere else");
    let origin = [("origin", "https://elsewhere.example")];
    assert_eq!(looks(&api, Method::POST, "/sign-in", &origin, &format!("token={}", api.viewer)).await.status, 403);

    let (cookie, csrf) = signed_in(&api, &api.operator).await;
    let pause = async |form: String| looks(&api, Method::POST, "/kinds/chat_refresh/pause", &[("cookie", &cookie)], &form).await;
    let refused = pause("paused=true".into()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("the form is of another session") && refused.text().contains("<h1>"));
    assert_eq!(pause("paused=true&csrf=x".into()).await.status, StatusCode::FORBIDDEN);
    let done = pause(format!("paused=true&csrf={csrf}&back=%2F%2Felsewhere.example")).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "/?done=paused&n=1"));
    let overview = looks(&api, Method::GET, "/?done=paused&n=1", &[("cookie", &cookie)], "").await.text();
    assert!(overview.contains("It is paused.") && overview.contains("chat_refresh is paused"));
    // Words out of an address are not shown.
    let forged = looks(&api, Method::GET, "/?done=call+this+number&n=1", &[("cookie", &cookie)], "").await.text();
    assert!(!forged.contains("call this number"));

    let (viewer, csrf) = signed_in(&api, &api.viewer).await;
    let form = format!("paused=false&csrf={csrf}");
    let refused = looks(&api, Method::POST, "/kinds/chat_refresh/pause", &[("cookie", &viewer)], &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("this needs the role operator"));
    // Programs get problems as before.
    let program = api.sends(api.request(Method::GET, "/nothing", None).body(Full::default()).unwrap()).await;
    assert_eq!(program.problem().1, "not-found");
    for hostile in
        ["/jobs?state=everything", "/jobs?chat=x", "/jobs/7%20or%201=1", "/chats/x", "/search?since=soon&text=a", "/jobs?cursor=x"]
    {
        let page = looks(&api, Method::GET, hostile, &[("cookie", &viewer)], "").await;
        assert!(page.status.is_client_error(), "{hostile}: {}", page.status);
        assert!(page.header("content-type").starts_with("text/html"), "{hostile}");
    }
    let out = looks(&api, Method::POST, "/sign-out", &[("cookie", &viewer)], &format!("csrf={csrf}")).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/sign-in"));
    assert_eq!(looks(&api, Method::GET, "/", &[("cookie", &viewer)], "").await.status, 303, "the session is over");
    let log: Vec<Value> =
        sqlx::query_scalar("select to_jsonb(l) from audit_log l where what = 'kind.pause'").fetch_all(&pool).await.unwrap();
    assert_eq!(log.len(), 1, "what was refused is not noted");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_page_says_that_the_database_is_away_and_asks_again_by_itself(pool: PgPool) {
    let (address, open) = way(&pool).await;
    let database = (*pool.connect_options()).clone().host("127.0.0.1").port(address.port());
    let api = Api::as_wished(&pool, Wish { database: Some(database), ..Wish::default() }).await;
    let (cookie, _) = signed_in(&api, &api.viewer).await;
    open.send(false).unwrap();
    let page = looks(&api, Method::GET, "/jobs", &[("cookie", &cookie)], "").await;
    assert_eq!(page.status, 503);
    let text = page.text();
    assert!(text.contains("The database is away") && text.contains("<meta http-equiv=\"refresh\""), "{text}");
    open.send(true).unwrap();
    until("the page", || async { looks(&api, Method::GET, "/jobs", &[("cookie", &cookie)], "").await.status == 200 }).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn members_of_a_chat_are_listed_in_pages_by_what_they_are(pool: PgPool) {
    sqlx::raw_sql(
        "insert into watch (chat_id) values (-1000000000005);
         insert into telegram_user (user_id, body, content_hash, first_seen, last_seen, via)
             values (1, '{\"first_name\": \"<b>Maren</b>\", \"username\": \"maren\"}', '', now(), now(), 'live');
         insert into member (chat_id, user_id, status, present, body, content_hash, first_seen, last_seen, via)
         select -1000000000005, n, case n when 1 then 'creator' else 'member' end, true,
             case n when 1 then '{\"title\": \"Harbour master\", \"joined_date\": \"2020-01-31T12:30:00Z\"}'::jsonb else '{}' end,
             '', '2021-01-31 12:30+00', '2022-01-31 12:30+00', 'live' from generate_series(1, 60) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    let api = Api::serves(&pool).await;
    let (cookie, _) = signed_in(&api, &api.viewer).await;
    let look = async |path: &str| looks(&api, Method::GET, path, &[("cookie", &cookie)], "").await;
    let chat = look("/chats/-1000000000005").await.text();
    assert!(chat.contains("href=\"/chats/-1000000000005/members\""), "{chat}");
    let first = look("/chats/-1000000000005/members").await.text();
    for told in ["@maren", "Harbour master", "2020-01-31 12:30:00", "2021-01-31 12:30:00", "2022-01-31 12:30:00", "creator"] {
        assert!(first.contains(told), "{told} in\n{first}");
    }
    assert!(!first.contains("<b>Maren"), "a name is text");
    assert_eq!(first.matches("<tr data-item>").count(), 50);
    let next = first.split("href=\"/chats/-1000000000005/members?").nth(1).unwrap().split('"').next().unwrap();
    let second = look(&format!("/chats/-1000000000005/members?{}", next.replace("&amp;", "&").replace("&#38;", "&"))).await.text();
    assert_eq!(second.matches("<tr data-item>").count(), 10);
    assert!(second.contains("sender=60&") && !second.contains("sender=50&"), "the page goes on where the first ended");
    let creators = look("/chats/-1000000000005/members?status=creator").await.text();
    assert_eq!(creators.matches("<tr data-item>").count(), 1);
    assert_eq!(look("/chats/-1000000000005/members?status=king").await.status, 422);
    assert_eq!(look("/chats/-1000000000006/members").await.status, 404);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_token_is_made_on_a_page_shown_once_and_revoked(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let (cookie, csrf) = signed_in(&api, &api.admin).await;
    let send = async |path: &str, form: &str| {
        looks(&api, Method::POST, path, &[("cookie", &cookie)], &format!("csrf={csrf}&{form}")).await
    };
    let list = async || looks(&api, Method::GET, "/tokens", &[("cookie", &cookie)], "").await.text();
    let made = send("/tokens", "name=night-watch&role=operator&expires_days=30").await;
    assert_eq!((made.status.as_u16(), made.header("cache-control")), (200, "no-store"), "{}", made.text());
    let made = made.text();
    let secret = made.split("<pre id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let jobs = async || api.asks(Method::GET, "/jobs", Some(&secret), None).await.status;
    assert_eq!(jobs().await, 200, "it lets in");
    assert_eq!(api.asks(Method::GET, "/tokens", Some(&secret), None).await.status, 403, "as what it was made");
    let listed = list().await;
    assert!(listed.contains("night-watch") && !listed.contains(&secret), "shown once");
    let expires: i64 = sqlx::query_scalar(
        "select round(extract(epoch from expires_at - created_at) / 86400)::bigint from api_token where name = 'night-watch'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(expires, 30);
    for (form, status, told) in [
        ("name=night-watch&role=viewer", 409, "there is a token night-watch already"),
        ("name=a+b&role=viewer", 422, "1 to 64 letters"),
        ("name=other&role=king", 422, "king"),
        ("name=other", 422, "viewer, operator or admin"),
        ("name=other&role=viewer&expires_days=0", 422, "1 to 36500"),
        ("name=other&role=viewer&expires_days=-1", 422, "a number of days"),
    ] {
        let refused = send("/tokens", form).await;
        assert!(refused.status.as_u16() == status && refused.text().contains(told), "{form}: {}", refused.text());
    }
    let revoked = send("/tokens/night-watch/revoke", "").await;
    assert_eq!((revoked.status.as_u16(), revoked.header("location")), (303, "/tokens?done=revoked&n=1"));
    assert_eq!(jobs().await, 401);
    assert!(list().await.contains("revoked"));
    assert_eq!(send("/tokens/night-watch/revoke", "").await.status, 404);

    // For admins alone, also in the menu; nor is a link shown that leads nowhere.
    let (cookie, csrf) = signed_in(&api, &api.operator).await;
    let refused = looks(&api, Method::GET, "/tokens", &[("cookie", &cookie)], "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let form = format!("csrf={csrf}&name=mine&role=admin");
    assert_eq!(looks(&api, Method::POST, "/tokens", &[("cookie", &cookie)], &form).await.status, StatusCode::FORBIDDEN);
    for (path, hidden) in
        [("/", "href=\"/tokens\""), ("/", "href=\"/settings\""), ("/", "href=\"/sign-ins\""), ("/accounts", "href=\"/sign-ins\"")]
    {
        let page = looks(&api, Method::GET, path, &[("cookie", &cookie)], "").await.text();
        assert!(!page.contains(hidden), "{path} shows {hidden}");
    }
    let (cookie, _) = signed_in(&api, &api.admin).await;
    let overview = looks(&api, Method::GET, "/", &[("cookie", &cookie)], "").await.text();
    assert!(overview.contains("href=\"/tokens\"") && overview.contains("href=\"/sign-ins\""), "{overview}");
}

/// What the audit log says was changed, oldest first.
async fn noted(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select what from audit_log where who like 'token:%' and what <> 'session.begin' order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_watch_gets_tags_and_ends_on_its_page(pool: PgPool) {
    sqlx::raw_sql("insert into watch (chat_id) values (-1000000000005)").execute(&pool).await.unwrap();
    let api = Api::serves(&pool).await;
    let (cookie, csrf) = signed_in(&api, &api.operator).await;
    let page = "/chats/-1000000000005";
    let send = async |way: &str, form: &str| {
        looks(&api, Method::POST, &format!("{page}/{way}"), &[("cookie", &cookie)], &format!("csrf={csrf}&{form}")).await
    };
    let tags = async || sqlx::query_scalar::<_, Vec<String>>("select tags from watch").fetch_one(&pool).await.unwrap();
    let set = send("tags", "tags=north%2C+goods").await;
    assert_eq!((set.status.as_u16(), set.header("location")), (303, "/chats/-1000000000005?done=tagged&n=1"), "{}", set.text());
    assert_eq!(tags().await, ["north", "goods"]);
    let shown = looks(&api, Method::GET, page, &[("cookie", &cookie)], "").await.text();
    assert!(shown.contains("value=\"north goods\"") && shown.contains("End the watch"), "{shown}");
    assert_eq!(send("tags", &format!("tags={}", "x".repeat(65))).await.status, 422);
    assert_eq!(send("tags", "tags=").await.status, 303);
    assert!(tags().await.is_empty(), "an empty field takes all away");
    for wrong in ["", "confirm=7", "confirm=yes"] {
        assert_eq!(send("end", wrong).await.status, 422, "{wrong}");
    }
    let (viewer, mark) = signed_in(&api, &api.viewer).await;
    let form = format!("csrf={mark}&confirm=-1000000000005");
    let refused = looks(&api, Method::POST, &format!("{page}/end"), &[("cookie", &viewer)], &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!looks(&api, Method::GET, page, &[("cookie", &viewer)], "").await.text().contains("End the watch"));
    let ended = send("end", "confirm=-1000000000005").await;
    assert_eq!((ended.status.as_u16(), ended.header("location")), (303, "/chats?done=unwatched&n=1"));
    assert_eq!(looks(&api, Method::GET, page, &[("cookie", &cookie)], "").await.status, 404);
    assert_eq!(noted(&pool).await, ["chat.tags", "chat.tags", "chat.unwatch"]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_gets_its_way_and_its_nodes_on_its_page(pool: PgPool) {
    let datacentre = datacentre(World::generated(7, [GeneratedChat::new(ChatKind::Channel, "Harbour", 5)])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let key_file = Some(telekeep.path("telekeep.key"));
    let api = Api::as_wished(&pool, Wish { key_file, ..Wish::default() }).await;
    let (cookie, csrf) = signed_in(&api, &api.admin).await;
    let send = async |path: &str, form: &str| {
        looks(&api, Method::POST, path, &[("cookie", &cookie)], &format!("csrf={csrf}&{form}")).await
    };
    let look = async |path: &str| looks(&api, Method::GET, path, &[("cookie", &cookie)], "").await.text();

    let added = send("/proxies", "name=berlin&url=socks5%3A%2F%2Fanna%40192.0.2.1%3A1080&password=+0pen+sesame+").await;
    assert_eq!((added.status.as_u16(), added.header("location")), (303, "/proxies?done=proxy-added&n=1"), "{}", added.text());
    let listed = look("/proxies").await;
    assert!(listed.contains("berlin") && listed.contains("anna@192.0.2.1:1080") && !listed.contains("sesame"), "{listed}");
    for (form, status) in
        [("name=berlin&url=socks5%3A%2F%2F192.0.2.1%3A1080", 409), ("name=other&url=ftp%3A%2F%2Fx", 422), ("", 422)]
    {
        assert_eq!(send("/proxies", form).await.status, status, "{form}");
    }

    let bound = send("/accounts/keeper/proxy", "to=berlin").await;
    assert_eq!((bound.status.as_u16(), bound.header("location")), (303, "/accounts/keeper?done=bound&n=1"), "{}", bound.text());
    let page = look("/accounts/keeper").await;
    assert!(page.contains("proxy berlin") && page.contains("<option value=\"berlin\" selected>"), "{page}");
    assert_eq!(send("/proxies/berlin/remove", "").await.status, 409, "an account is bound to it");
    assert_eq!(send("/accounts/keeper/proxy", "to=nowhere").await.status, 404);
    assert_eq!(send("/accounts/keeper/proxy", "to=none").await.status, 303);
    assert_eq!(send("/proxies/berlin/remove", "").await.header("location"), "/proxies?done=proxy-removed&n=1");

    assert_eq!(
        send("/accounts/keeper/nodes", "nodes=first%2C+second+node").await.header("location"),
        "/accounts/keeper?done=pinned&n=1"
    );
    assert!(look("/accounts/keeper").await.contains("value=\"first, second node\""));
    let pins: Vec<String> = sqlx::query_scalar("select node from account_pin order by node").fetch_all(&pool).await.unwrap();
    assert_eq!(pins, ["first", "second node"]);
    assert_eq!(send("/accounts/keeper/nodes", "nodes=").await.status, 303);
    assert!(!look("/accounts/keeper").await.contains("Kept to"));

    let paused = send("/accounts/keeper/pause", "paused=true").await;
    assert_eq!(paused.header("location"), "/accounts/keeper?done=paused&n=1", "{}", paused.text());
    assert!(look("/accounts/keeper").await.contains("Let its jobs start again"));
    assert_eq!(send("/accounts/keeper/pause", "paused=false").await.header("location"), "/accounts/keeper?done=resumed&n=1");
    assert!(look("/accounts/keeper").await.contains("Let none of its jobs start"));
    assert_eq!(send("/accounts/nobody/pause", "paused=true").await.status, 404);

    let (operator, mark) = signed_in(&api, &api.operator).await;
    for path in ["/proxies", "/accounts/keeper/proxy", "/accounts/keeper/nodes"] {
        let form = format!("csrf={mark}&name=x&url=socks5%3A%2F%2F192.0.2.1%3A1&to=none");
        assert_eq!(looks(&api, Method::POST, path, &[("cookie", &operator)], &form).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(
        noted(&pool).await,
        [
            "proxy.add",
            "account.proxy",
            "account.proxy",
            "proxy.remove",
            "account.pin",
            "account.pin",
            "partition.pause",
            "partition.resume"
        ]
    );
}
