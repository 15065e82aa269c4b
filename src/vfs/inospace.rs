//! Inode numbers of the mount, made from those of the file systems beneath.
//!
//! One number is both `st_ino` and the FUSE node id. It must be unique although layers lie on
//! different file systems, and the same after a remount of the same layers, so it is computed:
//!
//! * Files of the first file system met keep their number: a stack on one file system (the usual
//!   case) shows real inode numbers. Those of the n-th get `n` in bits 48 to 59.
//! * A file with several names gets its layer in those bits, and bit 62: stores that deduplicate
//!   by hard links share one inode between *layers*, where it must be two files.
//! * Over an image, the first 2^48 numbers are for its nodes: there the first file system is
//!   numbered as the second one is elsewhere.
//! * A number that does not fit (over 48 bits, or over 4,095 file systems) is hashed, with bit 61
//!   set. 61 bits make a collision of two such files a matter of 2^-61 a pair.

use super::attr::NodeId;
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};

const GROUP_SHIFT: u32 = 48;
const GROUP_MAX: u64 = 0xfff;
const INO_MAX: u64 = (1 << GROUP_SHIFT) - 1;
const HASHED: u64 = 1 << 61;
const LINKED: u64 = 1 << 62;

/// Maps (device, inode) beneath to the number shown.
#[derive(Debug, Default)]
pub struct InoSpace {
    devices: Mutex<Vec<u64>>,
    /// The group of the first device.
    first: usize,
}

impl InoSpace {
    /// An empty space; [`InoSpace::node`] numbers devices in the order it meets them.
    pub fn new() -> InoSpace {
        InoSpace::default()
    }

    /// One that leaves all numbers below 2^48 to the nodes of an image.
    pub fn above_image() -> InoSpace {
        InoSpace {
            first: 1,
            ..InoSpace::default()
        }
    }

    /// The number of inode `ino` on device `dev`.
    pub fn node(&self, dev: u64, ino: u64) -> NodeId {
        let group = {
            let mut devices = self.devices.lock();
            match devices.iter().position(|d| *d == dev) {
                Some(i) => i,
                None => {
                    devices.push(dev);
                    devices.len() - 1
                }
            }
        };
        compose(0, (self.first + group) as u64, ino)
    }

    /// The number of an inode with several names in layer `layer`.
    pub fn linked(&self, layer: usize, ino: u64) -> NodeId {
        compose(LINKED, layer as u64, ino)
    }
}

fn compose(class: u64, group: u64, ino: u64) -> NodeId {
    // 0 is no inode, and 1 is the root of every mount.
    if group > GROUP_MAX || ino > INO_MAX || (class == 0 && group == 0 && ino <= 1) {
        let mut hasher = DefaultHasher::new();
        (class, group, ino).hash(&mut hasher);
        return NodeId(HASHED | (hasher.finish() & (HASHED - 1)));
    }
    NodeId(class | (group << GROUP_SHIFT) | ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_keeps_its_numbers() {
        let space = InoSpace::new();
        assert_eq!(space.node(7, 12), NodeId(12));
        assert_eq!(space.node(8, 12), NodeId((1 << 48) | 12));
        assert_eq!(space.node(7, 13), NodeId(13));
    }

    #[test]
    fn no_file_gets_the_root() {
        let space = InoSpace::new();
        assert_ne!(space.node(7, 1), NodeId::ROOT);
        assert_ne!(space.node(7, 0), NodeId(0));
    }

    #[test]
    fn one_inode_in_two_layers_is_two_files() {
        let space = InoSpace::new();
        assert_ne!(space.linked(0, 12), space.linked(1, 12));
        assert_ne!(space.linked(0, 12), space.node(7, 12));
    }

    #[test]
    fn an_image_has_the_small_numbers_for_itself() {
        let space = InoSpace::above_image();
        for ino in [0, 1, 2, 12, INO_MAX, INO_MAX + 1] {
            assert!(space.node(7, ino).0 > INO_MAX, "{ino}");
        }
        assert_eq!(space.node(7, 12), NodeId((1 << 48) | 12));
    }

    #[test]
    fn wide_numbers_stay_apart() {
        let space = InoSpace::new();
        assert_ne!(space.node(7, 1 << 50), space.node(7, (1 << 50) + 1));
        assert_ne!(space.node(7, 1 << 50), space.node(8, 1 << 50));
    }
}
