//! The one place that answers with an error.

use crate::vfs::Result;
use nix::errno::Errno;

/// A reply that can be an error.
pub(super) trait Refuse {
    fn refuse(self, errno: fuser::Errno);
}

macro_rules! refuse {
    ($($reply:ident),*) => {
        $(impl Refuse for fuser::$reply {
            fn refuse(self, errno: fuser::Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// Sends `result`: by `send`, or as its errno. What people should know of goes to the log.
pub(super) fn answer<R: Refuse, T>(
    operation: &'static str,
    reply: R,
    result: Result<T>,
    send: impl FnOnce(R, T),
) {
    match result {
        Ok(value) => send(reply, value),
        Err(e) => {
            if e.is(Errno::EIO) || e.is(Errno::ESTALE) {
                log::error!("{operation}: {e}");
            } else {
                log::debug!("{operation}: {e}");
            }
            reply.refuse(fuser::Errno::from_i32(e.errno() as i32));
        }
    }
}
