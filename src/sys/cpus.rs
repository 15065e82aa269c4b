//! The processors of the machine.

use super::sched::Tid;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::ops::RangeInclusive;

/// A list such as `0-3,6`.
fn parse(list: &str) -> Option<Vec<u16>> {
    let range = |part: &str| -> Option<RangeInclusive<u16>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges: Option<Vec<_>> = list.trim().split(',').map(range).collect();
    Some(ranges?.into_iter().flatten().collect())
}

/// Every processor that the machine may ever have.
pub fn possible() -> Result<Vec<u16>> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let list = std::fs::read_to_string(PATH).context(|| PATH)?;
    parse(&list).ok_or_else(|| Error::because(Errno::EINVAL, format!("{PATH}: {list:?}")))
}

/// Of these, the ones that this thread may run on.
pub fn allowed(among: &[u16]) -> Result<Vec<u16>> {
    let set = sched_getaffinity(None)?;
    let may = |cpu: &&u16| usize::from(**cpu) < CpuSet::MAX_CPU && set.is_set((**cpu).into());
    Ok(among.iter().filter(may).copied().collect())
}

/// The one that a thread of any process ran on last.
pub fn last_of(thread: u32) -> Option<u16> {
    // not that of the whole process, for which all of its threads are looked at
    let stat = std::fs::read(format!("/proc/{thread}/task/{thread}/stat")).ok()?;
    processor(std::str::from_utf8(stat.get(stat.iter().rposition(|b| *b == b')')?..)?).ok()?)
}

/// What comes after the name in `stat`: the processor is the 39th value, the name the second.
fn processor(after_name: &str) -> Option<u16> {
    after_name
        .split_ascii_whitespace()
        .nth(39 - 2)?
        .parse()
        .ok()
}

impl Tid {
    /// Keeps the thread on these processors.
    pub fn stay_on(self, cpus: &[u16]) -> Result<()> {
        let mut set = CpuSet::new();
        for cpu in cpus.iter().copied().map(usize::from) {
            if cpu < CpuSet::MAX_CPU {
                set.set(cpu);
            }
        }
        Ok(sched_setaffinity(Some(self.0), &set)?)
    }
}

/// Processors that threads may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processors(CpuSet);

impl Processors {
    /// Those of this thread.
    pub fn allowed() -> Result<Processors> {
        Ok(Processors(sched_getaffinity(None)?))
    }

    /// The one that this thread is on now.
    pub fn here() -> u32 {
        u32::try_from(sched_getcpu()).unwrap_or(u32::MAX)
    }

    /// More than one.
    pub fn several(&self) -> bool {
        self.0.count() > 1
    }

    /// Lets a thread run on all of these.
    pub fn open_to(&self, thread: Tid) -> Result<()> {
        Ok(sched_setaffinity(Some(thread.0), &self.0)?)
    }

    /// Keeps a thread on these, but away from one of them.
    pub fn keep_away(&self, thread: Tid, from: u32) -> Result<()> {
        let mut set = self.0;
        let from = from as usize;
        if from < CpuSet::MAX_CPU {
            set.unset(from);
        }
        Ok(sched_setaffinity(Some(thread.0), &set)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_ranges_and_single_numbers() {
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("1-x"), None);
    }

    #[test]
    fn where_a_thread_is() {
        let here = u16::try_from(Processors::here()).unwrap();
        Tid::current().stay_on(&[here]).unwrap();
        let this = Tid::current().number().try_into().unwrap();
        assert_eq!(last_of(this), Some(here));
        assert_eq!(last_of(0), None);
    }

    #[test]
    fn this_thread_may_run_somewhere() {
        let all = possible().unwrap();
        assert!(!allowed(&all).unwrap().is_empty());
    }
}
