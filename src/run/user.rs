//! Users: names and numbers, looked up in the image.

use crate::sys::loc;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Option<String>,
}

/// Most that is read of a table of users.
const TABLE_MAX: u64 = 16 << 20;

/// Opens a file or directory of a root file system, no link of which leads out of it.
pub fn open_in(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "." } else { path };
    loc::open_in_root(root, path.as_bytes(), flags)
}

fn table(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    // what blocks when it is opened is no table
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let opened = match absent_ok(open_in(root, path, flags)).context(|| path.to_owned())? {
        Some(fd) => File::from(fd),
        None => return Ok(String::new()),
    };
    if !opened.metadata()?.is_file() {
        return Err(Error::because(Errno::EINVAL, format!("{path} is no file")));
    }
    let mut bytes = Vec::new();
    let read = opened.take(TABLE_MAX).read_to_end(&mut bytes);
    read.context(|| path.to_owned())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds `USER[:GROUP]` in the image. A number need not be in its tables; a name must.
pub fn lookup(root: BorrowedFd<'_>, text: &str) -> Result<Ids> {
    find(
        text,
        &table(root, "/etc/passwd").context(|| "users of the image")?,
        &table(root, "/etc/group").context(|| "groups of the image")?,
    )
}

fn find(text: &str, passwd: &str, group: &str) -> Result<Ids> {
    let (user, wanted) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let known = passwd.lines().find_map(|line| {
        let known = Known::parse(line)?;
        let same = known.name == user || number == Some(known.uid);
        same.then_some(known)
    });
    let mut ids = match (&known, number) {
        (Some(known), _) => Ids {
            uid: known.uid,
            gid: known.gid,
            home: Some(known.home.to_owned()).filter(|h| !h.is_empty()),
            groups: Vec::new(),
        },
        (None, Some(uid)) => Ids {
            uid,
            ..Ids::default()
        },
        (None, None) => {
            let why =
                format!("unable to find user {user}: no such name in /etc/passwd of the image");
            return Err(Error::because(Errno::EINVAL, why));
        }
    };
    match (wanted, &known) {
        (Some(wanted), _) => ids.gid = find_group(wanted, group)?,
        (None, Some(known)) => ids.groups = groups_of(known.name, group),
        (None, None) => {}
    }
    Ok(ids)
}

/// A line of the table of users.
struct Known<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Known<'_> {
    fn parse(line: &str) -> Option<Known<'_>> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Known {
            name: fields.first().filter(|n| !n.is_empty())?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).unwrap_or(&""),
        })
    }
}

/// Name, number and members.
fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn find_group(wanted: &str, group: &str) -> Result<u32> {
    let named = group.lines().filter_map(group_line).find(|g| g.0 == wanted);
    match (named, wanted.parse()) {
        (Some((_, gid, _)), _) | (None, Ok(gid)) => Ok(gid),
        (None, Err(_)) => {
            let why =
                format!("unable to find group {wanted}: no such name in /etc/group of the image");
            Err(Error::because(Errno::EINVAL, why))
        }
    }
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let member = |members: &str| members.split(',').any(|m| m == name);
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(group_line)
        .filter(|(_, _, members)| member(members))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/var/www:\n7:x:70:71::/seven:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:40:other,www\nmail:x:41:www\n";

    fn found(text: &str) -> (u32, u32, Vec<u32>) {
        let ids = find(text, PASSWD, GROUP).unwrap();
        (ids.uid, ids.gid, ids.groups)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(found("www"), (33, 34, vec![40, 41]));
        assert_eq!(found("33"), (33, 34, vec![40, 41]));
        assert_eq!(found("www:logs"), (33, 40, vec![]));
        assert_eq!(found("www:99"), (33, 99, vec![]));
        assert_eq!(found("1000"), (1000, 0, vec![]));
        assert_eq!(found("1000:web"), (1000, 34, vec![]));
        assert_eq!(found(""), (0, 0, vec![]));
        assert_eq!(found(":web"), (0, 34, vec![]));
        // a name of digits comes first
        assert_eq!(found("7"), (70, 71, vec![]));
        assert_eq!(find("www", PASSWD, "").unwrap().home.unwrap(), "/var/www");
    }

    #[test]
    fn names_that_are_not_there() {
        for (text, said) in [
            ("nobody", "unable to find user nobody"),
            ("-1", "unable to find user -1"),
            ("www:nogroup", "unable to find group nogroup"),
        ] {
            let e = find(text, PASSWD, GROUP).unwrap_err();
            assert!(e.reason().starts_with(said), "{e}");
        }
        assert!(find("www", "", "").is_err());
    }

    #[test]
    fn a_link_does_not_lead_out_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(dir.path().join("passwd"), "evil:x:66:66::/:\n").unwrap();
        let link = root.join("etc/passwd");
        std::os::unix::fs::symlink("../../passwd", &link).unwrap();
        let root_dir = File::open(&root).unwrap();
        assert!(lookup(root_dir.as_fd(), "evil").is_err());
        std::fs::write(root.join("passwd"), "good:x:77:77::/:\n").unwrap();
        assert_eq!(lookup(root_dir.as_fd(), "good").unwrap().uid, 77);
        std::fs::remove_file(&link).unwrap();
        std::fs::create_dir(&link).unwrap();
        assert!(
            lookup(root_dir.as_fd(), "good")
                .unwrap_err()
                .reason()
                .contains("is no file")
        );
    }
}
