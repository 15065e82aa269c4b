//! Owner, mode and type of a file, written into an extended attribute: how container tools keep
//! them where nobody may change owners (network homes, a single user id).
//!
//! `uid:gid:mode[:type]`, the mode in octal; the type is `file`, `dir`, `symlink`, `pipe`,
//! `socket`, `block-MAJOR-MINOR` or `char-MAJOR-MINOR` (containers/storage, `idtools`).

use super::Kind;

/// What the attribute says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverrideStat {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, `0o7777` at most.
    pub perm: u32,
    /// Type, and the device number of a device; `None`: what the inode is.
    pub kind: Option<(Kind, u64)>,
}

impl OverrideStat {
    /// Reads the attribute's value; `None` when it is none.
    pub fn parse(value: &[u8]) -> Option<OverrideStat> {
        let text = std::str::from_utf8(value).ok()?;
        let mut fields = text.split(':');
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
        let kind = match fields.next() {
            None => Kind::from_mode(mode).map(|k| (k, 0)),
            Some(word) => Some(parse_kind(word)?),
        };
        fields.next().is_none().then_some(OverrideStat {
            uid,
            gid,
            perm: mode & 0o7777,
            kind,
        })
    }

    /// The attribute's value.
    pub fn to_value(&self) -> Vec<u8> {
        let mut out = format!("{}:{}:{:04o}", self.uid, self.gid, self.perm);
        if let Some((kind, rdev)) = self.kind {
            out.push(':');
            out.push_str(&match kind {
                Kind::File => "file".to_string(),
                Kind::Dir => "dir".to_string(),
                Kind::Symlink => "symlink".to_string(),
                Kind::Fifo => "pipe".to_string(),
                Kind::Socket => "socket".to_string(),
                Kind::BlockDev => format!("block-{}-{}", libc::major(rdev), libc::minor(rdev)),
                Kind::CharDev => format!("char-{}-{}", libc::major(rdev), libc::minor(rdev)),
            });
        }
        out.into_bytes()
    }
}

fn parse_kind(word: &str) -> Option<(Kind, u64)> {
    let device = |numbers: &str| -> Option<u64> {
        let (major, minor) = numbers.split_once('-')?;
        Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
    };
    Some(match word {
        "file" => (Kind::File, 0),
        "dir" => (Kind::Dir, 0),
        "symlink" => (Kind::Symlink, 0),
        "pipe" => (Kind::Fifo, 0),
        "socket" => (Kind::Socket, 0),
        _ => match word.split_once('-')? {
            ("block", numbers) => (Kind::BlockDev, device(numbers)?),
            ("char", numbers) => (Kind::CharDev, device(numbers)?),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_containers_storage() {
        let plain = OverrideStat::parse(b"1000:100:0755").unwrap();
        assert_eq!((plain.uid, plain.gid, plain.perm), (1000, 100, 0o755));
        assert_eq!(plain.kind, None);
        let tty = OverrideStat::parse(b"0:5:0620:char-5-1").unwrap();
        assert_eq!(tty.kind, Some((Kind::CharDev, libc::makedev(5, 1))));
        assert_eq!(tty.to_value(), b"0:5:0620:char-5-1");
        assert_eq!(
            OverrideStat::parse(b"0:0:4755:file").unwrap().to_value(),
            b"0:0:4755:file"
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            &b""[..],
            b"0",
            b"0:0",
            b"0:0:9",
            b"x:0:755",
            b"0:0:755:tty",
            b"0:0:755:char-1",
            b"0:0:755:file:more",
            b"\xff:0:755",
        ] {
            assert_eq!(OverrideStat::parse(bad), None, "{bad:?}");
        }
    }
}
