//! Chats that no account knows yet, found by the node that has the account.

use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, Fault, World};

use crate::installation::{Worker, until};
use crate::installed::{Installed, datacentre};

const RESOLVE: &str = "contacts.resolveUsername";

fn works(telekeep: &Installed) -> Worker {
    let log = std::fs::File::options().append(true).create(true).open(telekeep.path("log")).unwrap();
    Worker(telekeep.command(&["run"]).stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap())
}

async fn has_the_account(pool: &PgPool) {
    until("the node to have the account", || async {
        let holders = "select count(*) from account_lease l join node n on n.id = l.node_id where n.works and l.closed_at is null";
        sqlx::query_scalar::<_, i64>(holders).fetch_one(pool).await.unwrap() == 1
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_public_name_is_looked_up_by_the_node_that_has_the_account(pool: PgPool) {
    let world = World::generated(3, [GeneratedChat::new(ChatKind::Channel, "Harbour", 300).named("harbour")]);
    let datacentre = datacentre(world).await;
    let chat = &datacentre.world().chats()[0];
    datacentre.account_with(&AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named("keeper") }).unwrap();
    let telekeep = Installed::at(&datacentre, &pool);
    let worker = works(&telekeep);
    has_the_account(&pool).await;

    let told = telekeep.refuses(&["chat", "watch", "@no_such_chat"]);
    assert!(told.contains("account keeper is at work in") && told.contains("USERNAME_NOT_OCCUPIED"), "{told}");

    // The day that a message in the middle was written on: what lies before it is out of scope.
    let truth = datacentre.truth(chat.id).unwrap();
    let day = chrono::DateTime::from_timestamp(truth[150].content.date, 0).unwrap().date_naive();
    let from = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
    let oldest = truth.iter().filter(|it| it.content.date >= from).map(|it| i64::from(it.content.message_id)).min().unwrap();
    let told = telekeep.does(&["chat", "watch", "@harbour", "--since", &day.to_string()]);
    assert!(told.contains(&format!("chat {} is watched", chat.id)), "{told}");
    let floor: i64 =
        sqlx::query_scalar("select floor from coverage where chat_id = $1").bind(chat.id).fetch_one(&pool).await.unwrap();
    let below = truth.iter().map(|it| i64::from(it.content.message_id)).filter(|id| *id < oldest).max().unwrap();
    assert!(below < floor && floor <= oldest, "the floor {floor} lies between {below} and {oldest}");
    assert_eq!(datacentre.calls(RESOLVE), 2, "each name was asked for once");

    // A flood is told, and nobody waits for its end.
    datacentre.fail(Fault::error(420, "FLOOD_WAIT_3000").of(RESOLVE).times(1));
    let told = telekeep.refuses(&["chat", "watch", "@some_other_chat"]);
    assert!(told.contains("FLOOD_WAIT") || told.contains("asks to wait"), "{told}");
    let calls = datacentre.calls(RESOLVE);
    telekeep.refuses(&["chat", "watch", "@some_other_chat"]);
    assert_eq!(datacentre.calls(RESOLVE), calls, "the method rests");
    worker.kill();
    assert_eq!(datacentre.violations(), []);
}
