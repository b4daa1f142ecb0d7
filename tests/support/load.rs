//! What a process costs, as the system counts it.

use std::time::Duration;

/// Ticks of a second in `/proc/PID/stat`: a constant of Linux towards programs.
const TICKS: u64 = 100;

/// Kilobytes that a process holds in memory.
///
/// # Panics
/// When there is no such process.
pub fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time that a process has used, in the kernel and outside.
///
/// # Panics
/// When there is no such process.
pub fn cpu(pid: u64) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may hold spaces; the numbers begin behind its parenthesis.
    let (_, numbers) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = numbers.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
