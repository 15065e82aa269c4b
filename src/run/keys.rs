//! The keys by which one leaves a container that goes on: `ctrl-p,ctrl-q`.

use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// Keys that mean "leave" when they are typed one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// So many of them were typed, and are kept back.
    typed: usize,
}

impl DetachKeys {
    /// As docker writes them: characters, and `ctrl-` with a letter or one of `@[\]^_`, with commas between.
    pub fn parse(text: &str) -> Result<DetachKeys> {
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        let bad = || {
            let want = "keys are expected, with commas between: characters, or ctrl-a to ctrl-z and ctrl-@[\\]^_";
            Error::because(Errno::EINVAL, format!("--detach-keys {text:?}: {want}"))
        };
        Ok(DetachKeys {
            keys: keys.ok_or_else(bad)?,
            typed: 0,
        })
    }

    /// What of `bytes` is for the container; and true if one wants to leave.
    pub fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.keys.get(self.typed) != Some(byte) {
                // they meant something else
                let kept = std::mem::take(&mut self.typed);
                out.extend_from_slice(self.keys.get(..kept).unwrap_or_default());
            }
            if self.keys.get(self.typed) != Some(byte) {
                out.push(*byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.keys.len() {
                self.typed = 0;
                return (out, true);
            }
        }
        (out, false)
    }
}

fn key(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [one] if one.is_ascii() => Some(*one),
        [b'c', b't', b'r', b'l', b'-', one] => match one.to_ascii_uppercase() {
            upper @ b'@'..=b'_' => Some(upper - b'@'),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dockers() {
        assert_eq!(DetachKeys::parse("ctrl-p,ctrl-q").unwrap().keys, [16, 17]);
        assert_eq!(
            DetachKeys::parse("a,ctrl-@,ctrl-_").unwrap().keys,
            [b'a', 0, 31]
        );
        for bad in ["", "ctrl-", "ctrl-1", "ab", "ctrl-p,", "ä"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_wish_to_leave_goes_through() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.pass(b"ls\n"), (b"ls\n".to_vec(), false));
        // one of them, and then something else, or itself again
        assert_eq!(keys.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11more"), (Vec::new(), true));
        assert_eq!(keys.pass(b"\x11"), (b"\x11".to_vec(), false));
    }
}
