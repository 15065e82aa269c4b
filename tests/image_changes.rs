//! What a container has changed, found on real mounts: a script runs in a mount over a directory
//! that stands for the image, and the changes are what is expected of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::{Stack, may_mount, sh};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use vellum::image::changes::{Image, Packer, changes};
use vellum::image::entry::Item;
use vellum::image::spill::{Pages, Room};
use vellum::vfs::Result;

/// A directory as an image: numbers are given as they are asked for.
struct Below(RefCell<Vec<PathBuf>>);

impl Image for Below {
    fn child(&self, dir: u32, name: &[u8]) -> Result<Option<(u32, bool)>> {
        let mut known = self.0.borrow_mut();
        let path = known[dir as usize].join(std::ffi::OsStr::from_bytes(name));
        let Ok(meta) = fs::symlink_metadata(&path) else {
            return Ok(None);
        };
        known.push(path);
        Ok(Some((known.len() as u32 - 1, meta.is_dir())))
    }

    /// What the files of a directory are in a mount is not known from here.
    fn names(&self, _: u64) -> Result<Vec<vellum::image::entry::Path>> {
        Ok(Vec::new())
    }
}

fn say(path: &vellum::image::entry::Path) -> String {
    let names: Vec<_> = path.iter().map(|n| String::from_utf8_lossy(n)).collect();
    format!("/{}", names.join("/"))
}

/// The changes, and the entries that they are packed as, with the data of files.
fn found(stack: &Stack) -> (Vec<String>, BTreeMap<String, String>) {
    try_found(stack).unwrap()
}

fn try_found(stack: &Stack) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    let below = Below(RefCell::new(vec![stack.lowers[0].clone()]));
    let (upper, mount) = (File::open(&stack.upper), File::open(&stack.mnt));
    let (mut lines, mut entries) = (Vec::new(), BTreeMap::new());
    // nothing that is remembered meanwhile is in memory
    let beyond = tempfile::tempdir().unwrap();
    let pages = Pages::new(Room::limited(0, beyond.path()));
    let mut packer = Packer::new(&pages).unwrap();
    changes(
        upper.unwrap().as_fd(),
        mount.unwrap().as_fd(),
        &below,
        &pages,
        &mut |change| {
            lines.push(format!("{} {}", change.how.letter(), say(change.path)));
            packer.pack(change, &mut |entry, data| {
                let mut bytes = String::new();
                data.read_to_string(&mut bytes).unwrap();
                let said = match &entry.item {
                    Item::Dir(meta) => format!("dir {:o}", meta.perm),
                    Item::File(meta, size) => {
                        assert_eq!(*size, bytes.len() as u64);
                        let user = meta.xattrs.iter().map(|(name, value)| {
                            let text = [&name[..], b"=", &value[..]].concat();
                            format!(" {}", String::from_utf8_lossy(&text))
                        });
                        format!("file {:o} {bytes}{}", meta.perm, user.collect::<String>())
                    }
                    Item::Symlink(_, target) => format!("-> {}", String::from_utf8_lossy(target)),
                    Item::Hardlink(to) => format!("= {}", say(to)),
                    Item::Whiteout => "whiteout".into(),
                    Item::Opaque => "opaque".into(),
                    other => format!("{other:?}"),
                };
                let at = entries.entry(say(&entry.path)).or_insert_with(String::new);
                *at = [at.as_str(), &said].join(if at.is_empty() { "" } else { ", " });
                Ok(())
            })
        },
    )?;
    Ok((lines, entries))
}

/// Runs a script in a mount; `options` make the forms of marks differ.
#[track_caller]
fn after(script: &str, options: &[&str], want: &[&str], packed: &[(&str, &str)]) {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    for (path, data) in [
        ("keep", "kept"),
        ("file", "old"),
        ("dir/a", "a"),
        ("dir/b", "b"),
        ("dir/deep/c", "c"),
        ("gone/d", "d"),
    ] {
        stack.lower(0, path, data);
    }
    sh("ln $1/keep $1/linked", &[stack.lowers[0].as_os_str()]);
    stack.mount(options);
    sh(&format!("cd \"$1\"; {script}"), &[stack.mnt.as_os_str()]);
    let (lines, entries) = found(&stack);
    assert_eq!(lines, want, "{script}");
    for (path, said) in packed {
        assert_eq!(
            entries.get(*path).map(String::as_str),
            Some(*said),
            "{path}"
        );
    }
    stack.umount();
}

const FORMS: [&[&str]; 2] = [&[], &["-o", "userxattr"]];

#[test]
fn nothing_done_is_nothing_changed() {
    after("cat keep dir/a; ls -lR >/dev/null", &[], &[], &[]);
}

#[test]
fn files_are_added_changed_and_deleted() {
    for form in FORMS {
        after(
            "echo -n new >dir/new; echo -n er >>file; rm dir/a; rm -r gone; ln -s to link; mkfifo f",
            form,
            &[
                "C /dir",
                "D /dir/a",
                "A /dir/new",
                "A /f",
                "C /file",
                "D /gone",
                "A /link",
            ],
            &[
                ("/dir", "dir 755"),
                ("/dir/a", "whiteout"),
                ("/dir/new", "file 644 new"),
                ("/file", "file 644 older"),
                ("/gone", "whiteout"),
                ("/link", "-> to"),
            ],
        );
    }
}

#[test]
fn what_was_made_and_removed_again_leaves_nothing() {
    after("touch x; rm x; mkdir y; rmdir y", &[], &[], &[]);
}

#[test]
fn a_change_of_attributes_has_the_data_of_the_image() {
    for form in FORMS {
        after(
            "chmod 600 file; setfattr -n user.a -v b file",
            form,
            &["C /file"],
            &[("/file", "file 600 old user.a=b")],
        );
    }
}

#[test]
fn a_directory_made_anew_hides_the_old_one() {
    for form in FORMS {
        after(
            "rm -r dir; mkdir -m 700 dir; echo -n n >dir/b",
            form,
            &["C /dir", "A /dir/b"],
            &[("/dir", "dir 700, opaque"), ("/dir/b", "file 644 n")],
        );
    }
}

#[test]
fn a_moved_directory_is_packed_whole() {
    for form in FORMS {
        after(
            "rm dir/a; mv dir gone/moved; echo -n n >gone/moved/deep/n",
            form,
            &[
                "D /dir",
                "C /gone",
                "A /gone/moved",
                "A /gone/moved/b",
                "A /gone/moved/deep",
                "A /gone/moved/deep/c",
                "A /gone/moved/deep/n",
            ],
            &[
                ("/gone/moved/b", "file 644 b"),
                ("/gone/moved/deep/c", "file 644 c"),
            ],
        );
        // where the image has another directory of that name
        after(
            "rm -r gone; mv dir gone",
            form,
            &[
                "D /dir",
                "C /gone",
                "A /gone/a",
                "A /gone/b",
                "A /gone/deep",
                "A /gone/deep/c",
            ],
            &[("/gone", "dir 755, opaque")],
        );
    }
}

#[test]
fn another_type_takes_a_name() {
    after(
        "rm -r dir; echo -n f >dir; rm file; mkdir file; touch file/x",
        &[],
        &["C /dir", "C /file", "A /file/x"],
        &[("/dir", "file 644 f"), ("/file", "dir 755")],
    );
}

#[test]
fn names_of_one_file_stay_so() {
    after(
        "echo -n x >>keep; ln keep dir/third",
        &[],
        &["C /dir", "A /dir/third", "C /keep", "C /linked"],
        &[
            ("/dir/third", "file 644 keptx"),
            ("/keep", "= /dir/third"),
            ("/linked", "= /dir/third"),
        ],
    );
}

/// It is a name in a mount; but in a layer it would be a mark.
#[test]
fn a_name_like_a_mark_is_found_and_cannot_be_packed() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.lower(0, "dir/a", "a");
    stack.mount(&[]);
    fs::write(stack.mnt.join("dir/.wh..wh..opq"), "").unwrap();
    let said = try_found(&stack).unwrap_err();
    assert!(
        said.reason().contains("/dir/.wh..wh..opq: in a layer"),
        "{said}"
    );
    stack.umount();
}

/// Where the file system of the upper keeps no attributes, marks are names.
#[test]
fn marks_that_are_names_mean_the_same() {
    if !may_mount() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    sh("mount -t ramfs ramfs \"$1\"", &[place.path().as_os_str()]);
    {
        let mut stack = Stack::new(1);
        stack.lower(0, "dir/a", "a");
        stack.lower(0, "file", "f");
        for (at, name) in [(&mut stack.upper, "upper"), (&mut stack.work, "work")] {
            *at = place.path().join(name);
            fs::create_dir(&at).unwrap();
        }
        stack.mount(&[]);
        sh(
            "cd \"$1\"; rm file; rm -r dir; mkdir dir; echo n >dir/n",
            &[stack.mnt.as_os_str()],
        );
        let (lines, entries) = found(&stack);
        assert_eq!(lines, ["C /dir", "A /dir/n", "D /file"]);
        assert_eq!(entries["/dir"], "dir 755, opaque");
        stack.umount();
        assert!(live::wait_for(std::time::Duration::from_secs(5), || stack
            .daemons()
            .is_empty()));
    }
    sh("umount \"$1\"", &[place.path().as_os_str()]);
}
