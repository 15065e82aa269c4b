//! Directory cookies: where a reader that comes back goes on.
//!
//! A cookie is a keyed hash of the name, and directories are listed in its order. So it stays
//! right while entries come and go, and needs no open handle to remember anything. The key is
//! drawn per mount: nobody can prepare names that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Cookies below this one are free for `.` and `..`.
pub const FIRST: u64 = 16;

/// Hashes names to cookies.
#[derive(Clone, Debug, Default)]
pub struct CookieKey(RandomState);

impl CookieKey {
    /// A new key.
    pub fn new() -> CookieKey {
        CookieKey::default()
    }

    /// The cookie of `name`: at least [`FIRST`], below 2^62.
    pub fn of(&self, name: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(name);
        (hasher.finish() >> 2).max(FIRST)
    }
}
