//! A real browser: Debian's Chromium, driven through chromedriver, that sees a `telekeep run` with pages.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::Url;

use crate::installation::until;
use crate::installed::Installed;

/// A process that ends with its test, and all that it started.
pub struct Running(Child);

impl Running {
    fn begins(command: &mut Command) -> std::io::Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().map(Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A port that nobody has.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An installation whose pages are served, with a worker beside them.
pub struct Pages {
    pub address: String,
    _running: Running,
}

impl Pages {
    /// Of an installation; its file gets these lines besides. The first thing that it does is to listen.
    pub async fn of(telekeep: &Installed, more: &str) -> Self {
        let port = port();
        std::fs::create_dir_all(telekeep.path("workflows")).unwrap();
        let configuration =
            format!("{more}\n[http]\nlisten = \"127.0.0.1:{port}\"\nrequests_per_second = 0\nstrangers_per_minute = 0\n");
        std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
        let running = Running::begins(&mut telekeep.command(&["run"])).unwrap();
        let pages = Self { address: format!("http://127.0.0.1:{port}"), _running: running };
        until("the pages", || async { std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() }).await;
        pages
    }
}

/// What only Chromium knows, <https://chromedevtools.github.io/devtools-protocol/>.
#[derive(Debug)]
struct Devtools {
    command: String,
    parameters: Value,
}

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.command, "params": self.parameters }).to_string()))
    }
}

/// A browser without a window.
pub struct Browser {
    pub driver: Client,
    address: String,
    _chromedriver: Running,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn opens(pages: &Pages) -> Self {
        let port = port();
        let mut chromedriver = Command::new("chromedriver");
        let chromedriver = Running::begins(chromedriver.args([format!("--port={port}"), "--silent".into()]))
            .expect("chromedriver is Debian's package chromium-driver: scripts/up --browser");
        let profile = tempfile::tempdir().unwrap();
        until("chromedriver", || async { std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() }).await;
        let profile_folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            &profile_folder,
        ];
        let wish = [("goog:chromeOptions".to_owned(), json!({ "args": arguments }))];
        let driver = ClientBuilder::new(HttpConnector::new())
            .capabilities(wish.into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { driver, address: pages.address.clone(), _chromedriver: chromedriver, _profile: profile }
    }

    /// Goes to a page of ours.
    pub async fn goes(&self, path: &str) {
        self.driver.goto(&format!("{}{path}", self.address)).await.unwrap();
    }

    /// The path that it is at.
    pub async fn path(&self) -> String {
        self.driver.current_url().await.unwrap().path().to_owned()
    }

    /// Signs in by a token, on the page that asks for it.
    pub async fn signs_in(&self, token: &str) {
        self.goes("/sign-in").await;
        self.fills("input[name=token]", token).await;
        self.presses("form.gate button").await;
        until("the browser to be in", || async { self.has("form[action='/sign-out']").await }).await;
    }

    pub async fn finds(&self, css: &str) -> Element {
        match self.driver.find(Locator::Css(css)).await {
            Ok(found) => found,
            Err(_) => panic!("no {css} at {}:\n{}", self.path().await, self.text().await),
        }
    }

    pub async fn has(&self, css: &str) -> bool {
        self.driver.find(Locator::Css(css)).await.is_ok()
    }

    pub async fn fills(&self, css: &str, text: &str) {
        let field = self.finds(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses what leads to another page, and waits for that one: an answer may take longer than the press.
    pub async fn presses(&self, css: &str) {
        let page = self.finds("html").await;
        self.finds(css).await.click().await.unwrap();
        until(&format!("the page after {css}"), || async {
            page.tag_name().await.is_err()
                && self.driver.execute("return document.readyState;", Vec::new()).await.is_ok_and(|state| state == "complete")
        })
        .await;
    }

    /// What the page says, as people see it.
    pub async fn text(&self) -> String {
        for _ in 0..50 {
            // a page may be replaced by the next one while it is read
            if let Ok(body) = self.driver.find(Locator::Css("body")).await
                && let Ok(text) = body.text().await
            {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the page cannot be read");
    }

    pub async fn says(&self, text: &str) {
        let said = self.text().await;
        assert!(said.contains(text), "{text:?} is not at {}:\n{said}", self.path().await);
    }

    /// Waits until a part of the page says so, by itself.
    pub async fn comes_to_say(&self, css: &str, text: &str) {
        until(&format!("{css} to say {text}"), || async {
            match self.driver.find(Locator::Css(css)).await {
                // a part may be replaced while it is read
                Ok(part) => part.text().await.is_ok_and(|said| said.contains(text)),
                Err(_) => false,
            }
        })
        .await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.driver.issue_cmd(Devtools { command: command.to_owned(), parameters }).await.unwrap();
    }

    /// Looks at the page in this width and these colours, and keeps what is seen. Answers whether it had to be moved sideways.
    pub async fn keeps(&self, name: &str, wide: u32, colours: &str) -> bool {
        let high = if wide < 600 { 844 } else { 900 };
        let screen = json!({ "width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let colour = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours }] });
        self.devtools("Emulation.setEmulatedMedia", colour).await;
        // Colours and widths are drawn at the next frame.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let sideways =
            self.driver.execute("return document.documentElement.scrollWidth > window.innerWidth;", Vec::new()).await.unwrap();
        let folder = screenshots();
        std::fs::create_dir_all(&folder).unwrap();
        let seen = self.driver.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}-{wide}-{colours}.png")), seen).unwrap();
        sideways.as_bool().unwrap()
    }

    /// What axe-core finds that is serious or critical: rule, and where.
    pub async fn faults(&self) -> Vec<String> {
        let source = std::fs::read_to_string(axe()).expect("axe-core is put there by scripts/up --browser");
        self.driver.execute(&source, Vec::new()).await.unwrap();
        let found = self
            .driver
            .execute_async("const done = arguments[arguments.length - 1]; axe.run().then((it) => done(it.violations));", Vec::new())
            .await
            .unwrap();
        let serious = |it: &&Value| matches!(it["impact"].as_str(), Some("serious" | "critical"));
        let told = |it: &Value| {
            format!(
                "{}: {}",
                it["id"],
                it["nodes"].as_array().into_iter().flatten().map(|node| node["html"].to_string()).collect::<Vec<_>>().join(" ")
            )
        };
        found.as_array().expect("a list of violations").iter().filter(serious).map(told).collect()
    }
}

/// Where what was seen is kept.
pub fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}

fn axe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".telekeep/axe/node_modules/axe-core/axe.min.js")
}
