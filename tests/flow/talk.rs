//! A conversation with a command: what it asks, and what a person answers.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was heard on one of its outputs, and how far somebody listened.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<(String, usize)>>);

impl Heard {
    fn from(mut stream: impl Read + Send + 'static) -> Self {
        let heard = Self::default();
        let here = heard.clone();
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut some) {
                here.0.lock().unwrap().0.push_str(&String::from_utf8_lossy(&some[..count]));
            }
        });
        heard
    }

    /// Whether this was said since it was last listened to.
    fn hears(&self, text: &str) -> bool {
        let mut heard = self.0.lock().unwrap();
        match heard.0[heard.1..].find(text) {
            Some(at) => {
                heard.1 += at + text.len();
                true
            }
            None => false,
        }
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }
}

/// A running command with whom somebody talks.
pub(crate) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    told: Heard,
    asked: Heard,
}

impl Talk {
    pub(crate) fn begins(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, asked) = (Heard::from(child.stdout.take().unwrap()), Heard::from(child.stderr.take().unwrap()));
        Self { stdin: child.stdin.take(), child, told, asked }
    }

    /// Waits until it tells this on standard output.
    pub(crate) async fn tells(&self, text: &str) {
        self.until(text, &self.told).await;
    }

    /// Waits until it asks for this, or complains of it, on standard error.
    pub(crate) async fn asks(&self, text: &str) {
        self.until(text, &self.asked).await;
    }

    async fn until(&self, text: &str, heard: &Heard) {
        for _ in 0..1_200 {
            if heard.hears(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{text:?} was never said; it said:\n{}{}", self.told.all(), self.asked.all());
    }

    pub(crate) fn answer(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Its exit code, and all that it said.
    pub(crate) async fn ends(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        for _ in 0..1_200 {
            if let Some(status) = self.child.try_wait().unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                return (status.code(), self.told.all() + self.asked.all().as_str());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end; it said:\n{}{}", self.told.all(), self.asked.all());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
