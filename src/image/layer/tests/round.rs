use super::*;
use crate::image::entry::Xattr;
use crate::vfs::whiteout::AUFS_PREFIX;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn part() -> impl Strategy<Value = Box<[u8]>> {
    let any_bytes = vec(1u8.., 1..=255);
    let letters = "[a-z]{1,120}".prop_map(String::into_bytes);
    let one = prop_oneof![4 => letters, 1 => any_bytes];
    one.prop_filter("a part of a path", |p| {
        !p.contains(&b'/') && !matches!(&**p, b"." | b"..") && !p.starts_with(AUFS_PREFIX)
    })
    .prop_map(Vec::into_boxed_slice)
}

fn any_path() -> impl Strategy<Value = Path> {
    prop_oneof![
        9 => vec(part(), 1..4),
        1 => vec(part(), 40..50),
    ]
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let name = "(user|security)\\.[a-z%=23D5]{1,9}".prop_map(|n| n.into_bytes().into());
    let value = vec(any::<u8>(), 0..2000).prop_map(Vec::into_boxed_slice);
    btree_map(name, value, 0..4).prop_map(|map| map.into_iter().collect())
}

/// A number that is most often small.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..2000u32, any::<u32>()]
}

fn meta() -> impl Strategy<Value = Meta> {
    let time = prop_oneof![0..1i64 << 34, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    let nsec = prop_oneof![Just(0), 0..1_000_000_000u32];
    let fields = (0..=0o7777u32, number(), number(), time, nsec, xattrs());
    fields.prop_map(|(perm, uid, gid, mtime, mtime_nsec, xattrs)| Meta {
        perm,
        uid,
        gid,
        mtime,
        mtime_nsec,
        xattrs,
    })
}

fn device() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..4096u32, 1..1u32 << 20).prop_map(|(a, i)| libc::makedev(a, i)),
        1u64..
    ]
}

fn one() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let data = vec(any::<u8>(), 0..2000);
    let target = vec(1u8.., 1..300).prop_map(Vec::into_boxed_slice);
    let item = prop_oneof![
        meta().prop_map(Item::Dir),
        (meta(), target).prop_map(|(m, t)| Item::Symlink(m, t)),
        any_path().prop_map(Item::Hardlink),
        (meta(), device()).prop_map(|(m, d)| Item::CharDev(m, d)),
        (meta(), device()).prop_map(|(m, d)| Item::BlockDev(m, d)),
        meta().prop_map(Item::Fifo),
        Just(Item::Whiteout),
        Just(Item::Opaque),
    ];
    let other = (any_path(), item).prop_map(|(path, item)| (Entry { path, item }, Vec::new()));
    let file = (any_path(), meta(), data).prop_map(|(path, meta, data)| {
        let item = Item::File(meta, data.len() as u64);
        (Entry { path, item }, data)
    });
    let root = meta().prop_map(|m| (entry("", Item::Dir(m)), Vec::new()));
    prop_oneof![6 => other, 3 => file, 1 => root]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(entries in vec(one(), 0..8)) {
        let tar = write(&entries).unwrap();
        prop_assert_eq!(&read(&tar, Limits::default()).unwrap(), &entries);
        prop_assert_eq!(write(&entries).unwrap(), tar);
    }

    #[test]
    fn what_is_cut_or_changed_makes_no_panic(
        entries in vec(one(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut tar = write(&entries).unwrap();
        let at = at.index(tar.len());
        tar[at] = byte;
        read(&tar, Limits::default()).ok();
        read(&tar[..at], Limits::default()).ok();
    }
}
