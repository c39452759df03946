//! A command: a program with its arguments, never a shell's line; JSON on its standard input, and a time limit for it and all that it
//! began.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::target::NotTold;

/// What it has of our environment: nothing that may be a secret.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

pub(super) async fn run(argv: &[String], input: &[u8], limit: Duration) -> Result<(), NotTold> {
    let Some((program, arguments)) = argv.split_first() else { return Err(NotTold::Ended("no program".into())) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own, so that what it began ends with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(NotTold::NotStarted)?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read is no failure: its status says whether it did its work.
            let _ = stdin.write_all(input).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(NotTold::Ended(status.to_string())),
        Ok(Err(error)) => Err(NotTold::NotStarted(error)),
        Err(_) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            Err(NotTold::Hung(limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn it_gets_the_message_and_its_status_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let copy = argv(&["dd", "status=none", &format!("of={}", file.display())]);
        run(&copy, b"{\"version\":1}", Duration::from_secs(10)).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"{\"version\":1}");
        let failed = run(&argv(&["false"]), b"", Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(failed.to_string(), "the program ended with exit status: 1");
        assert!(matches!(run(&argv(&["/nowhere/at all"]), b"", Duration::from_secs(10)).await, Err(NotTold::NotStarted(_))));
        // No shell: what looks like a line of one is an argument.
        assert!(run(&argv(&["test", "; true", "=", "; true"]), b"", Duration::from_secs(10)).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_all_that_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 300 & echo $! > {}; wait", file.display());
        let began = clock::mark();
        let hung = run(&argv(&["sh", "-c", &script]), b"", Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(hung, NotTold::Hung(_)) && began.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(&file).unwrap();
        for _ in 0..100 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("what it began still runs");
    }
}
