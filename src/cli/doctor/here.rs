//! What is looked at without a database: files, disks, configuration.

use super::{Findings, Said, open};
use crate::{
    alert::{self, rules::disks},
    config::Config,
};

pub(super) fn look(findings: &mut Findings, config: &Config) {
    findings.add("workflows", open::workflows(config).map(|w| format!("{} files are valid", w.len())).map_err(|e| e.to_string()));
    findings.add(
        "telegram api",
        config.api().map(|_| "api_id and api_hash are set".into()).or_else(|e| Ok(format!("needed for real accounts: {e}"))),
    );
    findings.add("disk", disk(config));
    findings.add("files", store(config));
    findings.add("alerts", alerts(config));
}

fn disk(config: &Config) -> Said {
    let all = disks(config);
    let share = |free: u64, size: u64| 100.0 * free as f64 / size.max(1) as f64;
    let say = |role: &str, free: u64, size: u64| format!("{role} {:.0} % free ({} GiB)", share(free, size), free >> 30);
    let told: Vec<String> = all.iter().map(|(role, disk)| say(role, disk.free, disk.size)).collect();
    if all.iter().any(|(_, disk)| share(disk.free, disk.size) < config.alerts.disk_free_percent) {
        return Err(format!("{}: make room, or give [files] a quota_bytes or another store", told.join(", ")));
    }
    Ok(told.join(", "))
}

fn store(config: &Config) -> Said {
    if config.files.store.is_none() {
        return match config.files.rule.is_empty() {
            true => Ok("no store and no rules: no files are fetched".into()),
            false => Err(
                "there are [[files.rule]], but no place to keep files: set [files] store = \"folder\" or \"s3://BUCKET/PREFIX\""
                    .into(),
            ),
        };
    }
    let store = config.files.open_store().map_err(|e| crate::error::chain(&e))?;
    for folder in [Some(store.staging().to_owned()), store.folder()].into_iter().flatten() {
        can_write(&folder)?;
    }
    Ok(format!("{}, {} rules", store.address(), config.files.rule.len()))
}

/// A file can be made there, and synced; it goes at once.
fn can_write(folder: &std::path::Path) -> Result<(), String> {
    let tried = std::fs::create_dir_all(folder).and_then(|()| {
        let probe = folder.join(format!(".telekeep-doctor-{}", std::process::id()));
        let made = std::fs::File::create(&probe).and_then(|file| file.sync_all());
        let gone = std::fs::remove_file(&probe);
        made.and(gone)
    });
    tried.map_err(|e| {
        format!("{} cannot be written ({e}): give it to the user that runs telekeep, or name another folder", folder.display())
    })
}

fn alerts(config: &Config) -> Said {
    let targets = alert::targets(&config.alert).map_err(|e| crate::error::chain(&e))?;
    if targets.is_empty() {
        return Ok("nobody is told of incidents: [[alert]] names a webhook or a command".into());
    }
    let told = targets.iter().map(|target| {
        let unsigned = if target.kind() == "webhook" && !target.is_signed() { ", not signed" } else { "" };
        format!("{} ({}{unsigned})", target.name, target.kind())
    });
    Ok(format!("{}; `telekeep alert test` sends to them", told.collect::<Vec<_>>().join(", ")))
}
