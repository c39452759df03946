//! This process in terms that another one on the same host can look up, and the proof that such a one is gone.

use std::fs;

use crate::record::node::Process;

/// The name of this host, for people.
pub fn name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// This process. Where the host does not tell (no /proc), nothing is ever proved by it.
pub fn this() -> Process {
    let pid = std::process::id();
    Process {
        boot: boot().unwrap_or_default(),
        pid_space: pid_space().unwrap_or_default(),
        pid: i32::try_from(pid).unwrap_or(0),
        pid_start: start_of(&pid.to_string()).and_then(|start| i64::try_from(start).ok()).unwrap_or(0),
    }
}

/// Whether a process is gone for sure: it ran under this very kernel, its number is of the same space as ours, and nobody has that
/// number, or somebody who began at another time.
pub fn is_gone(process: &Process) -> bool {
    let (Some(boot), Some(pid_space)) = (boot(), pid_space()) else { return false };
    if process.boot != boot || process.pid_space != pid_space || process.pid <= 0 {
        return false;
    }
    match fs::read_to_string(format!("/proc/{}/stat", process.pid)) {
        Ok(stat) => {
            start_in(&stat).is_some_and(|start| i64::try_from(start).is_ok_and(|start| start != process.pid_start) || ended(&stat))
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Names the time since the kernel's start (random(4)).
fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Names the space of process numbers (pid_namespaces(7)): containers on one kernel have their own.
fn pid_space() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok().map(|link| link.to_string_lossy().into_owned())
}

fn start_of(pid: &str) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When a process began, in ticks since the boot: field 22 of proc(5). The name in field 2 may hold anything.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A zombie: ended, and nobody has asked how. Its sockets are closed.
fn ended(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| matches!(rest.trim_start().as_bytes().first(), Some(b'Z' | b'X')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_host_that_has_ended_is_gone() {
        let this = this();
        assert!(!is_gone(&this));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = start_of(&child.id().to_string()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid, pid_start: i64::try_from(started).unwrap(), ..this };
        assert!(!is_gone(&process));
        assert!(is_gone(&Process { pid_start: process.pid_start - 1, ..process.clone() }), "another one has its number now");
        child.kill().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(is_gone(&process), "it has ended, though nobody has waited for it");
        child.wait().unwrap();
        assert!(is_gone(&process));
        assert!(!is_gone(&Process { boot: "another".into(), ..process.clone() }));
        assert!(!is_gone(&Process { pid_space: "pid:[1]".into(), ..process }));
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_in(stat), Some(4711));
        assert!(!ended(stat) && ended(&stat.replace(" S ", " Z ")));
    }
}
