//! The mount as a whole: mounted again at once, found by handle, watched, measured, with few fds.

use crate::bed::{Bed, as_user, file};
use crate::common::layers::Item;
use crate::common::mounts::{self, Io};
use crate::common::stack::Stack;
use crate::raw::reopen_by_handle;
use std::fs::{self, File};
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn stack(io: Io) -> Bed {
    Bed::new(io, &[vec![file("f"), file("d/e/g")]])
}

fn unmounted_and_mounted_again_at_once(io: Io) {
    let mut bed = stack(io);
    for i in 0..40 {
        bed.remount();
        assert!(mounts::is_mountpoint(&bed.stack.mnt()), "round {i}");
        fs::write(bed.at(&format!("n{i}")), "x").unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(
        bed.names("").len(),
        42,
        "an earlier daemon took the mount away"
    );
}

fn found_by_handle_after_caches_were_dropped(io: Io) {
    let bed = stack(io);
    bed.sh("echo new > d/new; echo x >> d/e/g");
    let mount = File::open(bed.at("")).unwrap();
    for (path, want) in [("f", "aaaaa"), ("d/e/g", "aaaaax\n"), ("d/new", "new\n")] {
        let mut text = String::new();
        let mut file = reopen_by_handle(&mount, &bed.at(path)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, want, "{path}");
    }
    reopen_by_handle(&mount, &bed.at("d/e")).unwrap();
}

fn statfs_is_that_of_the_upper(io: Io) {
    let bed = stack(io);
    let (mount, upper) = (
        rustix::fs::statvfs(bed.at("f")).unwrap(),
        rustix::fs::statvfs(bed.stack.upper()).unwrap(),
    );
    assert_eq!(
        (mount.f_blocks, mount.f_frsize),
        (upper.f_blocks, upper.f_frsize)
    );
    assert_eq!(mount.f_namemax, 255);
    assert_eq!(rustix::fs::statfs(bed.at("")).unwrap().f_type, 0x6573_5546); // FUSE
}

fn mount_table_says_what_it_is(io: Io) {
    let mut bed = stack(io);
    let entry = |bed: &Bed| {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let at = bed.stack.mnt().display().to_string();
        table
            .lines()
            .find(|l| l.split(' ').nth(1) == Some(&at))
            .unwrap()
            .to_owned()
    };
    assert!(entry(&bed).contains(" fuse.vellum "), "{}", entry(&bed));
    bed.unmount();
    // words of mount(8), not of the file system
    for word in [
        "fsname=name",
        "nodiratime",
        "strictatime",
        "relatime",
        "noatime",
        "nosuid",
        "nodev",
        "noexec",
        "sync",
        "dirsync",
    ] {
        let mounted = mounts::mount_with(&bed.stack, io, &["-o", word]);
        let line = entry(&bed);
        let flags: Vec<&str> = line.split([' ', ',']).collect();
        match word {
            "fsname=name" => assert!(line.starts_with("name "), "{line}"),
            "strictatime" => assert!(
                !flags.contains(&"relatime") && !flags.contains(&"noatime"),
                "{line}"
            ),
            word => assert!(flags.contains(&word), "{word}: {line}"),
        }
        mounted.unmount();
    }
}

fn inotify_sees_changes(io: Io) {
    let bed = stack(io);
    use rustix::fs::inotify;
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    let what = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, bed.at("d"), what).unwrap();
    inotify::add_watch(&fd, bed.at("f"), inotify::WatchFlags::MODIFY).unwrap();
    bed.sh("echo x > d/new; mv d/new d/newer; rm d/newer; echo y >> f");
    let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&fd, &mut buf);
    let mut seen = Vec::new();
    while let Ok(event) = events.next() {
        seen.push((
            event.events(),
            event.file_name().map(|n| n.to_str().unwrap().to_owned()),
        ));
    }
    let has = |flag: inotify::ReadFlags, name: Option<&str>| {
        seen.iter()
            .any(|(f, n)| f.contains(flag) && n.as_deref() == name)
    };
    assert!(has(inotify::ReadFlags::CREATE, Some("new")), "{seen:?}");
    assert!(has(inotify::ReadFlags::MOVED_TO, Some("newer")), "{seen:?}");
    assert!(has(inotify::ReadFlags::DELETE, Some("newer")), "{seen:?}");
    assert!(
        has(inotify::ReadFlags::MODIFY, None),
        "the copy-up moved the watched file away: {seen:?}"
    );
}

/// Many files open at once under a low limit of file descriptors in who mounts.
fn few_file_descriptors(io: Io) {
    let layer: Vec<Item> = (0..400).map(|i| file(format!("d{i}/f").leak())).collect();
    let stack = Stack::build(&[layer]);
    let mount = mounts::command(&stack, io, &[]);
    let words: Vec<String> = std::iter::once(mount.get_program())
        .chain(mount.get_args())
        .map(|a| format!("'{}'", a.to_str().unwrap()))
        .collect();
    let script = format!("ulimit -Sn 64; {}", words.join(" "));
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let mounted = crate::common::kernel::Mounted::at(&stack.mnt());
    let mut open = Vec::new();
    for i in 0..400 {
        let path = stack.mnt().join(format!("d{i}/f"));
        let f = File::options()
            .read(true)
            .write(i % 2 == 0)
            .open(&path)
            .unwrap();
        if i % 2 == 0 {
            std::os::unix::fs::FileExt::write_all_at(&f, b"w", 0).unwrap();
        }
        open.push(f);
    }
    drop(open);
    mounted.unmount();
    assert_eq!(stack.lowers_changed(), None);
}

/// Look-ups go on while a large file is copied up.
fn lookups_do_not_wait_for_a_copy_up(io: Io) {
    let layer = vec![
        Item::File {
            path: "big",
            len: 192 << 20,
            byte: b'b',
            mode: 0o644,
            uid: 0,
        },
        file("d/f"),
    ];
    let bed = Bed::new(io, &[layer]);
    let (copying, done, looked) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        AtomicUsize::new(0),
    );
    std::thread::scope(|s| {
        s.spawn(|| {
            copying.store(true, Ordering::SeqCst);
            let f = File::options().write(true).open(bed.at("big")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&f, b"x", 0).unwrap();
            f.sync_all().unwrap();
            done.store(true, Ordering::SeqCst);
        });
        // what counts is the order of events, not how long they take: names that nobody asked for
        // before are answered after the copy began and before it ended
        let mut i = 0;
        while !done.load(Ordering::SeqCst) {
            i += 1;
            let before = copying.load(Ordering::SeqCst);
            assert!(!bed.at(&format!("d/none{i}")).exists());
            if before && !done.load(Ordering::SeqCst) {
                looked.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let looked = looked.load(Ordering::SeqCst);
    assert!(
        looked >= 20,
        "{looked} look-ups during a copy-up of 192 MiB"
    );
}

/// Everybody may use root's mount, as the modes say.
fn others_use_it(io: Io) {
    let bed = stack(io);
    bed.sh("chmod 755 .");
    let out = as_user(1000, &bed.at(""), "cat f && ls d/e && id -u");
    assert!(out.status.success(), "{out:?}");
}

/// fuse-overlayfs died of it.
fn lower_devices_and_sockets_go(io: Io) {
    let layer = vec![
        Item::Dev {
            path: "c",
            major: 240,
            minor: 77,
        },
        Item::Fifo { path: "p" },
        Item::Socket { path: "s" },
    ];
    let mut bed = Bed::new(io, &[layer]);
    bed.same("ls -l --time-style=+ c p s; chmod 600 c p s; mv c c2; rm c2 p s; ls -A");
    bed.remount();
    bed.compare();
}

in_both_modes!(
    unmounted_and_mounted_again_at_once,
    found_by_handle_after_caches_were_dropped,
    statfs_is_that_of_the_upper,
    mount_table_says_what_it_is,
    inotify_sees_changes,
    few_file_descriptors,
    lookups_do_not_wait_for_a_copy_up,
    others_use_it,
    lower_devices_and_sockets_go,
);
