//! The control port and the binary's commands.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::*;

/// Runs a command of the binary.
async fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let command = move || Command::new(env!("CARGO_BIN_EXE_telekeep-simulator")).args(arguments).output();
    tokio::task::spawn_blocking(command).await.expect("no panic").expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body of a control port's answer to a GET.
pub(super) async fn get(simulator: &Simulator, path: &str) -> String {
    request(simulator, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

/// The body of a control port's answer to a JSON POST.
pub(super) async fn post(simulator: &Simulator, path: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    request(simulator, &(head + body)).await
}

async fn request(simulator: &Simulator, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = simulator.control_url().replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answers");
    let answer = text(&answer);
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("an HTTP answer")
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("telekeep-simulator-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("creates");
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("writes");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The truth as documents of an index have it.
fn documents(simulator: &Simulator, chat: i64) -> Vec<Value> {
    let truth = simulator.truth(chat).expect("the chat");
    truth
        .iter()
        .map(|truth| {
            let content = &truth.content;
            let date = |unix: i64| chrono::DateTime::from_timestamp(unix, 0).map(|date| date.to_rfc3339());
            let mut document = serde_json::to_value(content).expect("serialises");
            document["date"] = json!(date(content.date));
            document["edit_date"] = json!(content.edit_date.and_then(date));
            document["service"] = json!(content.service.as_ref().map(|action| json!({ "action": action })));
            document["views"] = json!(17);
            document
        })
        .collect()
}

fn ndjson(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_accepts_the_truth_and_names_what_differs() {
    let simulator = simulator().await;
    let folder = Folder::new("compare");
    let quay = chat(&simulator, "Quay").id;
    let mut told = documents(&simulator, quay);
    let url = simulator.control_url();

    let output = run(&["compare", "--control", &url, &folder.file("same.ndjson", &ndjson(&told))]).await;
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("ids and content equal the truth"));

    let gone = told.remove(3)["message_id"].clone();
    told[10]["text"] = json!("changed");
    let changed = told[10]["message_id"].clone();
    let output = run(&["compare", "--control", &url, &folder.file("other.ndjson", &ndjson(&told))]).await;
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stdout);
    assert!(line.contains(&format!("1 missing ({gone}); 1 different content ({changed})")), "{line}");

    let output = run(&["compare", "--control", &url, &folder.file("cut.ndjson", "{\"chat_id\": -1")]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cut.ndjson: line 1: "), "{}", text(&output.stderr));
    let output = run(&["compare", "--control", "http://127.0.0.1:1", &folder.file("x.ndjson", &ndjson(&told))]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not reachable"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn account_writes_the_session_file_of_a_served_world() {
    let simulator = simulator().await;
    let folder = Folder::new("account");
    let path = folder.file("session.json", "");
    let output = run(&["account", "keeper", "--control", &simulator.control_url(), "--output", &path]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let session: Value = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
    let keys: Vec<_> = session.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, ["address", "dc", "key", "port", "user_id"]);
    let session: SessionFile = serde_json::from_value(session).expect("a session file");
    assert_eq!(session, simulator.account("keeper").expect("an account"));
    client(&session).get_me().await.expect("signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_cut_or_damaged_is_refused_with_its_place() {
    let folder = Folder::new("export");
    let world = folder.file("world.toml", "export = \".\"\n");
    let told = async |result: &str| {
        folder.file("result.json", result);
        let output = run(&["serve", "--world", &world]).await;
        format!("{}exit {}", text(&output.stderr), output.status.code().expect("ends"))
            .replace(&folder.0.display().to_string(), "DIR")
    };
    let whole = "{\"name\": \"a\", \"type\": \"public_channel\", \"id\": 7,\n\"messages\": [\n{\"id\": 1, \"type\": \"message\"}]}";
    insta::assert_snapshot!(told(&whole[..whole.len() - 9]).await, @r#"
    error: DIR/./result.json:3:21: the file ends too early (EOF while parsing a string); export the chat again from Telegram Desktop (format: machine-readable JSON) and let it finish
    exit 2
    "#);
    insta::assert_snapshot!(told(&whole.replace("\"type\": \"message\"", "\"type\" \"message\"")).await, @r#"
    error: DIR/./result.json:3:18: expected `:`; export the chat again from Telegram Desktop (format: machine-readable JSON) and let it finish
    exit 2
    "#);
    insta::assert_snapshot!(told("{\"about\": \"something else\"}").await, @r#"
    error: DIR/./result.json: no chat in it (neither `messages` nor `chats.list`); choose `Machine-readable JSON` when exporting from Telegram Desktop
    exit 2
    "#);
}
