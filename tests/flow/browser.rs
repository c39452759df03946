//! The dashboard as an operator sees it, in a real browser.

use sqlx::PgPool;
use telekeep::record::ChatId;
use telekeep_queue as queue;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, Simulator, World};

use crate::browsing::{Browser, Pages};
use crate::installation::until;
use crate::installed::{Installed, datacentre};

/// Markup, as somebody hostile would call a chat.
const HOSTILE: &str = "<img src=x onerror=\"document.title='taken'\">Quay";

async fn world() -> Simulator {
    let chats = [
        GeneratedChat::new(ChatKind::Channel, "Harbour", 120).deleted(0.1).named("harbour"),
        GeneratedChat::new(ChatKind::Supergroup, HOSTILE, 40).named("quay"),
    ];
    datacentre(World::generated(7, chats)).await
}

fn token(telekeep: &Installed, name: &str, role: &str) -> String {
    telekeep.does(&["token", "create", name, "--role", role]).trim().to_owned()
}

/// Both chats collected, the first with a hole.
async fn collected(datacentre: &Simulator, pool: &PgPool) -> (Installed, i64) {
    let telekeep = Installed::at(datacentre, pool);
    for chat in datacentre.world().chats() {
        telekeep.does(&["collect", &chat.id.to_string()]);
    }
    let chat = datacentre.world().chats()[0].id;
    for statement in [
        "delete from message where chat_id = $1 and message_id between 31 and 40",
        "update coverage set settled = settled - '{[31,41)}' where chat_id = $1",
    ] {
        sqlx::query(statement).bind(chat).execute(pool).await.unwrap();
    }
    (telekeep, chat)
}

/// A job that failed for good, with a hint.
async fn dead_job(pool: &PgPool, chat: i64) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let jobs: Vec<queue::NewJob> = telekeep::jobs::plan(&mut tx, "chat_refresh", ChatId(chat)).await.unwrap().into_iter().collect();
    let (made, _wake) = queue::enqueue(&mut tx, &jobs).await.unwrap();
    let job = made[0].id();
    sqlx::query(
        "with moved as (update job set state = 'dead', error = 'the harbour was closed', hint = 'open the harbour, then retry',
                finished_at = now() where id = $1 returning kind, state)
         insert into job_delta select kind, 'available', -1 from moved union all select kind, 'dead', 1 from moved",
    )
    .bind(job)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    job
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_first_link_lets_in_and_a_token_after_it(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.goes("/jobs?state=dead").await;
    assert_eq!(browser.path().await, "/sign-in", "nobody is known yet");
    let link = telekeep.does(&["token", "link"]);
    browser.driver.goto(link.trim()).await.unwrap();
    assert_eq!(browser.path().await, "/");
    browser.says("link (admin)").await;
    browser.presses(".who form button").await;
    assert_eq!(browser.path().await, "/sign-in");
    browser.driver.goto(link.trim()).await.unwrap();
    browser.says("this link was used already").await;

    let viewer = token(&telekeep, "reader", "viewer");
    browser.goes("/jobs?state=dead").await;
    browser.fills("input[name=token]", "tkp_wrong").await;
    browser.presses("form.gate button").await;
    browser.says("the token is wrong, expired or revoked").await;
    browser.fills("input[name=token]", &viewer).await;
    browser.presses("form.gate button").await;
    assert_eq!(browser.path().await, "/jobs", "it goes on where it was going");
    browser.says("token:reader (viewer)").await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_failing_job_is_found_by_its_hint_and_retried_to_done(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    let job = dead_job(&pool, chat).await;
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "night-watch", "operator")).await;
    browser.says("open the harbour, then retry").await;
    browser.presses("ul.attention a.button[href^='/jobs/']").await;
    assert_eq!(browser.path().await, format!("/jobs/{job}"));
    browser.says("the harbour was closed").await;
    browser.presses("#retry").await;
    browser.says("Jobs that start over: 1.").await;
    browser.comes_to_say("#state", "done").await;
    browser.goes("/audit-log").await;
    browser.says("job.retry").await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn many_jobs_are_counted_before_they_are_touched(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    dead_job(&pool, chat).await;
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "night-watch", "operator")).await;
    browser.goes("/jobs?state=dead").await;
    browser.presses("form[action='/jobs/batch'] button").await;
    browser.says("Retry: 1 jobs").await;
    let dead =
        || async { sqlx::query_scalar::<_, i64>("select count(*) from job where state = 'dead'").fetch_one(&pool).await.unwrap() };
    assert_eq!(dead().await, 1, "nothing is done by counting");
    browser.presses("#confirm").await;
    browser.says("Jobs that start over: 1.").await;
    assert_eq!(dead().await, 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_missing_is_seen_in_the_bar_and_fetched(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "night-watch", "operator")).await;
    browser.goes(&format!("/chats/{chat}?from=21&to=50")).await;
    browser.comes_to_say("[data-sum=missing]", "10").await;
    assert!(browser.has("svg.coverage rect.missing").await);
    browser.presses("#fetch").await;
    browser.says("Jobs that fetch what is missing").await;
    until("the hole to be closed in the bar", || async { !browser.has("svg.coverage rect.missing").await }).await;
    assert_eq!(browser.finds("[data-sum=missing]").await.text().await.unwrap(), "0");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_a_search_finds_opens_in_the_reader(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    let text = "the <b>lantern</b> is <script>document.title='taken'</script> lit";
    sqlx::query(
        "update message set body = jsonb_set(body, '{text}', to_jsonb($2::text)), search = to_tsvector('simple', $2)
          where chat_id = $1 and message_id = (select max(message_id) from message
              where chat_id = $1 and deleted_at is null and body ->> 'text' <> '' and body -> 'media_group_id' is null and message_id < 80)",
    )
    .bind(chat)
    .bind(text)
    .execute(&pool)
    .await
    .unwrap();
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "reader", "viewer")).await;
    browser.goes("/search").await;
    browser.fills("input[name=text]", "lantern").await;
    browser.presses("form[action='/search'] button").await;
    assert_eq!(browser.finds("mark").await.text().await.unwrap(), "lantern");
    browser.presses("ol.messages a").await;
    assert_eq!(browser.path().await, format!("/chats/{chat}/messages"));
    let here = browser.finds("li.here .text").await.text().await.unwrap();
    assert_eq!(here, text, "markup is text");
    // So is what a chat is called.
    browser.goes("/chats").await;
    browser.says(HOSTILE).await;
    assert_ne!(browser.driver.title().await.unwrap(), "taken");
    assert!(!browser.has("main img[src=x]").await);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_is_signed_in_by_code(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = Installed::empty(&pool);
    let request =
        AccountRequest { phone: Some("+99966123456".into()), signed_in: Some(false), ..AccountRequest::named("newcomer") };
    let start = datacentre.account_with(&request).unwrap();
    std::fs::write(telekeep.path("start.json"), serde_json::to_vec(&start).unwrap()).unwrap();
    let telegram = "[telegram]\napi_id = 1\napi_hash = \"0123456789abcdef0123456789abcdef\"\ndatacentre = \"start.json\"\n";
    let pages = Pages::of(&telekeep, telegram).await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "boss", "admin")).await;
    browser.goes("/sign-ins").await;
    browser.fills("section:first-of-type input[name=label]", "main").await;
    browser.fills("input[name=phone]", "+99966123456").await;
    browser.presses("section:first-of-type button").await;
    assert_eq!(browser.path().await, "/sign-ins/main");
    until("a code", || async { datacentre.code("99966123456").is_some() }).await;
    browser.fills("input[name=code]", &datacentre.code("99966123456").unwrap()).await;
    browser.presses("form[action$='/code'] button").await;
    assert_eq!(browser.path().await, "/accounts/main");
    browser.says("The account is signed in.").await;
    assert_eq!(browser.finds("#state").await.text().await.unwrap(), "active");
    assert!(!browser.text().await.contains("99966123456"));

    browser.goes("/sign-ins").await;
    browser.fills("section:nth-of-type(2) input[name=label]", "second").await;
    browser.presses("section:nth-of-type(2) button").await;
    assert!(browser.has("svg.qr path.dark").await, "drawn by the server");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_viewer_reads_and_is_refused_what_changes(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    let job = dead_job(&pool, chat).await;
    let pages = Pages::of(&telekeep, "").await;
    let browser = Browser::opens(&pages).await;
    browser.signs_in(&token(&telekeep, "reader", "viewer")).await;
    browser.goes(&format!("/jobs/{job}")).await;
    browser.says("open the harbour, then retry").await;
    assert!(!browser.has("#retry").await, "no button that would be refused");
    // The form all the same, with the right CSRF token, and without one.
    let sends = "const form = document.createElement('form'); form.method = 'post'; form.action = arguments[0];
        form.innerHTML = '<input name=action value=retry><input name=csrf>';
        form.elements.csrf.value = arguments[1] ? document.querySelector('.who input[name=csrf]').value : 'x';
        document.body.append(form); form.submit();";
    for (csrf, told) in [(true, "this needs the role operator"), (false, "the form is of another session")] {
        browser.goes(&format!("/jobs/{job}")).await;
        let arguments = vec![serde_json::json!(format!("/jobs/{job}/actions")), serde_json::json!(csrf)];
        browser.driver.execute(sends, arguments).await.unwrap();
        browser.comes_to_say("main", told).await;
    }
    let state: String = sqlx::query_scalar("select state from job where id = $1").bind(job).fetch_one(&pool).await.unwrap();
    assert_eq!(state, "dead");
    browser.goes("/settings").await;
    browser.says("this needs the role admin").await;
    browser.goes("/nothing-of-the-kind").await;
    browser.says("nothing has such an address").await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn every_page_is_accessible_and_fits_a_telephone(pool: PgPool) {
    let datacentre = world().await;
    let (telekeep, chat) = collected(&datacentre, &pool).await;
    let job = dead_job(&pool, chat).await;
    let pages = Pages::of(&telekeep, "").await;
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/new-chat.toml"), telekeep.path("workflows/new-chat.toml"))
        .unwrap();
    let browser = Browser::opens(&pages).await;
    let mut faults = Vec::new();
    let mut looks = async |name: &str, path: &str| {
        browser.goes(path).await;
        assert_eq!(browser.path().await, path.split('?').next().unwrap(), "nothing else is looked at");
        for colours in ["light", "dark"] {
            for wide in [1280, 390] {
                if browser.keeps(name, wide, colours).await {
                    faults.push(format!("{path} is wider than {wide}"));
                }
                faults.extend(browser.faults().await.into_iter().map(|fault| format!("{path}, {wide}, {colours}: {fault}")));
            }
        }
    };
    looks("sign-in", "/sign-in").await;
    browser.signs_in(&token(&telekeep, "boss", "admin")).await;
    for (name, path) in [
        ("overview", "/".to_owned()),
        ("jobs", "/jobs".into()),
        ("job", format!("/jobs/{job}")),
        ("jobs-batch", "/jobs/batch?action=retry&state=dead".into()),
        ("chats", "/chats".into()),
        ("chat", format!("/chats/{chat}")),
        ("members", format!("/chats/{chat}/members")),
        ("reader", format!("/chats/{chat}/messages")),
        ("message", format!("/chats/{chat}/messages/120")),
        ("search", "/search?text=the".into()),
        ("accounts", "/accounts".into()),
        ("account", "/accounts/keeper".into()),
        ("proxies", "/proxies".into()),
        ("sign-in-account", "/sign-ins".into()),
        ("workflows", "/workflows".into()),
        ("workflow", "/workflows/new-chat".into()),
        ("files", "/files".into()),
        ("nodes", "/nodes".into()),
        ("audit-log", "/audit-log".into()),
        ("tokens", "/tokens".into()),
        ("settings", "/settings".into()),
        ("problem", "/nothing".into()),
    ] {
        looks(name, &path).await;
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
