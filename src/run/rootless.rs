//! Without root: a user namespace in which this process is root, with the further users that the
//! system's administrator gave (`/etc/subuid`, `/etc/subgid`).

use crate::sys::process::{Fork, fork};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, getpid};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// True in a user namespace that is not the machine's first one.
pub fn is_inside() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let fields: Vec<&str> = map.split_whitespace().collect();
    fields != ["0", "0", "4294967295"]
}

/// Makes this process root in a user namespace of its own, with mounts of its own, unless it is root
/// already. It must have one thread.
pub fn enter() -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    let maps = [
        ("newuidmap", map("/etc/subuid", geteuid().as_raw())?),
        ("newgidmap", map("/etc/subgid", getegid().as_raw())?),
    ];
    let target = getpid();
    let (go_reader, go_writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (said_reader, said_writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // the maps are written by a process that is not in the namespace
    match fork()? {
        Fork::Child => {
            drop((go_writer, said_reader));
            let done = wait_and_map(&mut File::from(go_reader), target, &maps);
            let said = done.err().map(|e| e.to_string()).unwrap_or_default();
            let told = File::from(said_writer).write_all(said.as_bytes());
            std::process::exit(i32::from(told.is_err()))
        }
        Fork::Parent(helper) => {
            drop((go_reader, said_writer));
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .context(|| "user namespace")?;
            File::from(go_writer).write_all(b"+")?;
            let mut said = String::new();
            File::from(said_reader).read_to_string(&mut said)?;
            waitpid(helper, None)?;
            if !said.is_empty() {
                return Err(Error::because(Errno::EPERM, said));
            }
        }
    }
    if !geteuid().is_root() {
        return Err(Error::because(
            Errno::EPERM,
            "not root in the user namespace",
        ));
    }
    nix::unistd::setgroups(&[]).context(|| "groups")?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .context(|| "mounts of its own")
}

/// Enters the namespaces of the process that looks after a container, if it is in others.
pub fn join(monitor: i32) -> Result<()> {
    if geteuid().is_root() && !is_inside() {
        return Ok(());
    }
    let said = |what: &str| format!("{what} namespace of process {monitor}");
    let open = |what: &str| File::open(format!("/proc/{monitor}/ns/{what}")).context(|| said(what));
    let (user, mounts) = (open("user")?, open("mnt")?);
    // in the same one already: to enter it again is refused
    if !is_inside() {
        setns(&user, CloneFlags::CLONE_NEWUSER).context(|| said("user"))?;
    }
    setns(&mounts, CloneFlags::CLONE_NEWNS).context(|| said("mount"))
}

/// The whole map for `newuidmap` or `newgidmap`: this user is root, and those that a table gives it
/// come next.
fn map(table: &str, own: u32) -> Result<Vec<String>> {
    let name = own_name();
    let text = fs::read_to_string(table).context(|| table.to_owned())?;
    let mut map: Vec<String> = ["0", &own.to_string(), "1"].map(str::to_owned).into();
    let mut next = 1u64;
    for (first, count) in ranges(&text, &name, geteuid().as_raw()) {
        map.extend([next.to_string(), first.to_string(), count.to_string()]);
        next += count;
    }
    if next == 1 {
        let why = format!(
            "{table} gives nothing to user {name:?}; as root: usermod --add-subuids \
            100000-165535 --add-subgids 100000-165535 {name}"
        );
        return Err(Error::because(Errno::EPERM, why));
    }
    Ok(map)
}

/// The name of this user; none, if nobody knows it. The program may be linked statically, and then
/// cannot ask the system's other sources of users itself.
fn own_name() -> String {
    let uid = geteuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, uid).map(str::to_owned).unwrap_or_else(|| {
        let asked = Command::new("id").arg("-un").stderr(Stdio::null()).output();
        let said = asked.ok().filter(|said| said.status.success());
        let name = said.and_then(|said| String::from_utf8(said.stdout).ok());
        name.map(|n| n.trim().to_owned()).unwrap_or_default()
    })
}

/// The name that a table of users has for a number.
fn name_in(users: &str, uid: u32) -> Option<&str> {
    let own = |line: &&str| line.split(':').nth(2).and_then(|n| n.parse().ok()) == Some(uid);
    users.lines().find(own)?.split(':').next()
}

/// First number and count of each range that a table has for a user.
fn ranges(table: &str, name: &str, uid: u32) -> Vec<(u64, u64)> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (
            fields.next()?.parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        );
        (owner == name || owner == uid.to_string()).then_some((first, count))
    };
    table
        .lines()
        .filter_map(parse)
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn wait_and_map(go: &mut File, target: Pid, maps: &[(&str, Vec<String>)]) -> Result<()> {
    if go.read(&mut [0])? == 0 {
        return Ok(()); // there is no namespace, and its reason is told there
    }
    for (program, map) in maps {
        let output = Command::new(program)
            .arg(target.to_string())
            .args(map)
            .stdin(Stdio::null())
            .output()
            .context(|| format!("{program} (package uidmap)"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::because(
                Errno::EPERM,
                format!("{program}: {}", said.trim()),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_a_name_or_a_number() {
        let table = "root:1:2\nuser:100000:65536\n1000:300000:10\nother:5:5\nuser:x:1\nuser:7:0\n";
        assert_eq!(
            ranges(table, "user", 1000),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(ranges(table, "nobody", 65534), []);
    }

    #[test]
    fn a_user_has_a_name() {
        let users = "root:x:0:0::/:/bin/sh\nbad\nuser:x:1000:1:,,:/:\nother:x:1000:1::/:\n";
        assert_eq!(name_in(users, 1000), Some("user"));
        assert_eq!(name_in(users, 100), None);
        let asked = Command::new("id").arg("-un").output().unwrap();
        assert_eq!(own_name(), String::from_utf8(asked.stdout).unwrap().trim());
    }
}
