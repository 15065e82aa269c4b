//! What the numbers were measured on.

use super::peers::kernel_release;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The machine, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Type of the file system that holds the layers.
    pub file_system: String,
    /// Load average over a minute when it began: others at work on the machine are noise.
    pub load: String,
}

impl Machine {
    /// Looks around.
    pub fn here(scratch: &Path) -> Machine {
        let line = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value = text.lines().find_map(|l| {
                let (k, v) = l.split_once(':')?;
                (k.trim() == key).then(|| v.trim().to_owned())
            });
            value.unwrap_or_default()
        };
        let kib: Option<u64> = line("/proc/meminfo", "MemTotal")
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Machine {
            kernel: kernel_release(),
            cpu: line("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kib.unwrap_or(0) * 1024,
            file_system: file_system(scratch),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The type in the mount table of the longest mountpoint above a path.
fn file_system(path: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let fields = table.lines().filter_map(|l| {
        let (before, after) = l.split_once(" - ")?;
        Some((before.split(' ').nth(4)?, after.split(' ').next()?))
    });
    fields
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind.to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_seen() {
        assert_eq!(file_system(Path::new("/proc/self")), "proc");
        let m = Machine::here(Path::new("/"));
        assert!(m.memory > 0 && m.cpus > 0 && !m.kernel.is_empty(), "{m:?}");
    }
}
