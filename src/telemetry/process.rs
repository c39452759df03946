//! What the process itself uses: memory, time, files, connections to the database.

use std::path::Path;

use sqlx::PgPool;

use super::metrics;

/// Ticks a second in `/proc`: fixed for user space on Linux (`man 5 proc`, `sysconf(_SC_CLK_TCK)`).
const TICKS: u64 = 100;

/// Sets the gauges of this process. What the system does not tell stays unset.
pub(super) fn sample(pool: &PgPool) {
    if let Some(bytes) = resident_bytes() {
        metrics::PROCESS_MEMORY.set(bytes as f64, &[]);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        metrics::PROCESS_FILES.set(files.count() as f64, &[]);
    }
    if let Some((cpu_s, started)) = times() {
        metrics::PROCESS_CPU.counter(&[]).absolute(cpu_s);
        metrics::PROCESS_START.set(started as f64, &[]);
    }
    let idle = pool.num_idle();
    metrics::DATABASE_CONNECTIONS.set(idle as f64, &["idle"]);
    metrics::DATABASE_CONNECTIONS.set(f64::from(pool.size()) - idle as f64, &["used"]);
    metrics::DATABASE_CONNECTIONS.set(f64::from(pool.options().get_max_connections()), &["most"]);
    metrics::CONNECTIONS.set(crate::telegram::open_connections() as f64, &[]);
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Seconds of work of all threads, and the start in seconds since 1970.
fn times() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in brackets, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let boot = std::fs::read_to_string(Path::new("/proc/stat")).ok()?;
    let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(((field(14)? + field(15)?) / TICKS, boot + field(22)? / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_of_itself() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        let (_, started) = times().unwrap();
        let ago = crate::clock::now().timestamp() - i64::try_from(started).unwrap();
        assert!((-5..100_000).contains(&ago), "{ago}");
    }
}
