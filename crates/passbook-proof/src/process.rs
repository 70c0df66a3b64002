//! What the kernel knows about a process: processor time, memory, how to end it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Clock ticks a second in /proc: fixed at 100 for every user-space interface of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time (user and kernel) the process has used so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    parse_cpu_seconds(&stat).with_context(|| format!("/proc/{pid}/stat has no processor times"))
}

/// Seconds of processor time that the process, its children and the children that have ended have used so far.
pub fn cpu_seconds_of_children(parent: u32) -> Result<f64> {
    let mut used = 0.0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end while it is looked at.
        let Ok(stat) = read(pid, "stat") else { continue };
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let is_child = fields.get(1).is_some_and(|field| *field == parent.to_string());
        if is_child || pid == parent {
            used += parse_cpu_seconds(&stat).unwrap_or(0.0);
        }
        if pid == parent {
            // proc(5): fields 16 and 17, children that were waited for.
            let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            used += (ticks(13) + ticks(14)) / TICKS_PER_SECOND;
        }
    }
    Ok(used)
}

/// KiB of anonymous memory (heap and stacks, no mapped files) the process holds.
pub fn rss_anon_kib(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    value.with_context(|| format!("/proc/{pid}/status has no RssAnon"))
}

/// Sends a signal by name (`TERM`, `STOP`) to one process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg("-s").arg(name).arg(pid.to_string()).status().context("kill")?;
    if !status.success() {
        bail!("could not send {name} to process {pid}");
    }
    Ok(())
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
}

/// proc(5): fields 14 and 15, counted behind the command name, which may itself hold spaces and brackets.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 0";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn this_process_has_memory_and_processor_time() {
        let pid = std::process::id();
        assert!(rss_anon_kib(pid).expect("RssAnon") > 0);
        assert!(cpu_seconds(pid).expect("times") >= 0.0);
    }
}
