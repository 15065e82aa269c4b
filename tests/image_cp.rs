//! `vellum cp`, by the rules of `docker cp`: out of containers and images, into containers, as tars; and
//! that no path and no symlink of a container leads out of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;

use live::{may_mount, run, sh};
use rich::{Bed, Shown, same, shown};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;

/// What is below a directory of a tree, without the directory itself.
fn below(tree: &Shown, dir: &str) -> Shown {
    let inside = |(path, line): (&String, &String)| {
        let rest = path.strip_prefix(dir)?.strip_prefix('/')?;
        Some((rest.to_owned(), line.replace(&format!("{dir}/"), "")))
    };
    tree.iter().filter_map(inside).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| format!("{}: {e}", path.display()))
}

/// Reads a file of the container by other means than the command under test.
type Look<'l> = &'l dyn Fn(&str) -> String;

/// Runs the test on a container that is mounted, and on one that is not.
fn both(test: fn(&Bed, Look<'_>)) {
    if !may_mount() {
        return;
    }
    for mounted in [true, false] {
        let bed = Bed::new();
        bed.mount(&["--name", "web", "rich:1"]);
        if !mounted {
            bed.umount();
        }
        let look = |path: &str| {
            if !mounted {
                bed.mount(&["--name", "web"]);
            }
            let text = read(&bed.mnt().join(path));
            if !mounted {
                bed.umount();
            }
            text
        };
        test(&bed, &look);
        if mounted {
            bed.umount();
        }
        bed.vellum(&["fsck"]);
    }
}

#[test]
fn a_whole_tree_comes_out_as_it_is_and_goes_in_again() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    sh(
        "cd \"$1\"; echo n >new; mv tree opaque/tree; truncate -s 3M new2; echo e >>new2
         find . -newermt 2025-01-01 -exec touch -h -d '2023-01-02 03:04:05' {} +",
        &[bed.mnt().as_os_str()],
    );
    let whole = bed.shown();
    // trusted. attributes are an overlay's or a machine's own, and stay
    let but_trusted = |tree: &Shown| -> Shown {
        let mut tree = tree.clone();
        tree.insert("attrs-dir".into(), String::new());
        tree
    };
    bed.vellum(&["cp", "-a", "web:/", "out"]);
    same(&but_trusted(&shown(&bed.at("out"))), &but_trusted(&whole));
    assert!(
        fs::metadata(bed.at("out/new2")).unwrap().blocks() < 100,
        "holes were filled"
    );
    bed.umount();
    bed.vellum(&["cp", "-a", "web:/", "out2"]);
    same(&but_trusted(&shown(&bed.at("out2"))), &but_trusted(&whole));
    // into another one
    bed.second_image();
    bed.mount(&["--name", "two", "other:1"]);
    bed.umount();
    bed.vellum(&["cp", "-a", "out", "two:/copy"]);
    bed.mount(&["--name", "two"]);
    same(
        &but_trusted(&below(&bed.shown(), "copy")),
        &but_trusted(&below(
            &whole
                .iter()
                .map(|(path, line)| (format!("x/{path}"), line.clone()))
                .filter(|(path, _)| path != "x/")
                .collect(),
            "x",
        )),
    );
    bed.umount();
}

#[test]
fn the_destination_decides_where_it_goes() {
    both(|bed, look| {
        fs::create_dir_all(bed.at("here/dir/sub")).unwrap();
        fs::write(bed.at("here/dir/sub/f"), "f").unwrap();
        fs::write(bed.at("here/one"), "one").unwrap();
        // a file: into a directory, as a name, over a file, and with the slash that says directory
        bed.vellum(&["cp", "here/one", "web:/etc"]);
        assert_eq!(look("etc/one"), "one");
        bed.vellum(&["cp", "here/one", "web:etc/named"]);
        assert_eq!(look("etc/named"), "one");
        bed.vellum(&["cp", "here/one", "web:/etc/passwd"]);
        assert_eq!(look("etc/passwd"), "one");
        // a directory: as a name, then into it, then what is in it
        bed.vellum(&["cp", "here/dir", "web:/new"]);
        assert_eq!(look("new/sub/f"), "f");
        bed.vellum(&["cp", "here/dir", "web:/new"]);
        assert_eq!(look("new/dir/sub/f"), "f");
        bed.vellum(&["cp", "here/dir/.", "web:/tmp/"]);
        assert_eq!(look("tmp/sub/f"), "f");
        bed.vellum(&["cp", "here/dir/.", "web:/fresh"]);
        assert_eq!(look("fresh/sub/f"), "f");
        // out again
        bed.vellum(&["cp", "web:/new", "got"]);
        assert_eq!(read(&bed.at("got/sub/f")), "f");
        bed.vellum(&["cp", "web:/new", "got"]);
        assert_eq!(read(&bed.at("got/new/sub/f")), "f");
        bed.vellum(&["cp", "web:new/sub/.", "got"]);
        assert_eq!(read(&bed.at("got/f")), "f");
        bed.vellum(&["cp", "web:/etc/hosts", "."]);
        assert_eq!(read(&bed.at("hosts")), "host 2\n");
        bed.vellum(&["cp", "web:/etc/one", "hosts"]);
        assert_eq!(read(&bed.at("hosts")), "one");
        for (args, said) in [
            (["here/one", "web:/none/"], "web:/none/: the directory"),
            (["here/one", "web:/none/x"], "No such file"),
            (["here/dir", "web:/etc/hosts"], "cannot be copied to a file"),
            (["here/one/", "web:/etc"], "Not a directory"),
            (["here/one", "web:/etc/hosts/"], "Not a directory"),
            (["here/gone", "web:/etc"], "here/gone: No such file"),
            (["web:/nothing", "."], "web:/nothing: No such file"),
            (["web:/etc", "none/x"], "No such file"),
            (["web:/etc", "hosts"], "cannot be copied to a file"),
            (["nobody:/etc", "."], "no container \"nobody\""),
            (["here/one", "rich:1:/etc"], "an image is never changed"),
        ] {
            let text = bed.fails(&[&["cp"], &args[..]].concat(), 1);
            assert!(text.contains(said), "{args:?}: {text}");
        }
        for args in [["here/one", "there"], ["web:/a", "web:/b"], ["-", "-"]] {
            bed.fails(&[&["cp"], &args[..]].concat(), 2);
        }
        // what is a directory there stays one, and the other way round
        fs::create_dir_all(bed.at("clash/etc")).unwrap();
        fs::write(bed.at("clash/etc/passwd"), "p").unwrap();
        fs::create_dir_all(bed.at("clash/plain")).unwrap();
        let text = bed.fails(&["cp", "clash/.", "web:/"], 1);
        assert!(text.contains("/plain: a directory cannot take"), "{text}");
        fs::write(bed.at("tmp"), "").unwrap();
        let text = bed.fails(&["cp", "tmp", "web:/"], 1);
        assert!(text.contains("/tmp: what is no directory"), "{text}");
        let names = look("etc/.vellum-cp");
        assert!(names.contains("No such file"), "{names}");
    });
}

#[test]
fn links_are_copied_unless_they_are_to_be_followed() {
    both(|bed, look| {
        fs::write(bed.at("target"), "t").unwrap();
        symlink("target", bed.at("link")).unwrap();
        bed.vellum(&["cp", "link", "web:/etc"]);
        bed.vellum(&["cp", "-L", "link", "web:/etc/followed"]);
        assert_eq!(look("etc/followed"), "t");
        bed.vellum(&["cp", "web:/etc/link", "back"]);
        assert_eq!(fs::read_link(bed.at("back")).unwrap(), Path::new("target"));
        // of the image: dir-to-link -> tmp
        bed.vellum(&["cp", "web:/dir-to-link", "as-link"]);
        assert!(bed.at("as-link").is_symlink());
        bed.vellum(&["cp", "-L", "web:/dir-to-link", "as-dir"]);
        assert!(!bed.at("as-dir").is_symlink() && bed.at("as-dir").is_dir());
        // a destination is always followed
        bed.vellum(&["cp", "target", "web:/dir-to-link"]);
        assert_eq!(look("tmp/target"), "t");
        // a socket is no file to copy, which is said
        fs::create_dir(bed.at("run")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(bed.at("run/s")).unwrap();
        fs::write(bed.at("run/pid"), "1").unwrap();
        let out = bed.command(&["cp", "run", "web:/"]).output().unwrap();
        let said = live::text(&out);
        assert!(
            out.status.success() && said.contains("/run/s: a socket is left out"),
            "{said}"
        );
        assert_eq!(look("run/pid"), "1");
        // names of one file stay so
        bed.vellum(&["cp", "web:/links", "links"]);
        let ino = |name| fs::metadata(bed.at(name)).unwrap().ino();
        assert_eq!(ino("links/one"), ino("links/three"));
    });
}

#[test]
fn nothing_leads_out_of_a_container() {
    both(|bed, look| {
        let outside = bed.at("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink(&outside, bed.at("abs")).unwrap();
        let up = format!("{}{}", "../".repeat(20), outside.display());
        symlink(up, bed.at("up")).unwrap();
        bed.vellum(&["cp", "abs", "web:/"]);
        bed.vellum(&["cp", "up", "web:/"]);
        for link in ["abs", "up"] {
            for path in [format!("web:/{link}/secret"), format!("web:/{link}/")] {
                bed.fails(&["cp", &path, "stolen"], 1);
                bed.fails(&["cp", "-L", &path, "stolen"], 1);
            }
            bed.fails(&["cp", "up", &format!("web:/{link}/planted")], 1);
        }
        bed.fails(&["cp", "web:../outside/secret", "stolen"], 1);
        // a tar that makes a link and goes through it
        sh(
            "cd \"$1\"; mkdir t t/d; echo x >t/d/planted; ln -s \"$1/outside\" l
             tar -cf evil.tar --transform 's,^l$,d,' l; tar -rf evil.tar -C t d/planted",
            &[bed.at("").as_os_str()],
        );
        let evil = File::open(bed.at("evil.tar")).unwrap();
        let out = bed
            .command(&["cp", "-", "web:/tmp"])
            .stdin(evil)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1), "{}", live::text(&out));
        assert!(!bed.at("stolen").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert!(look("tmp/d/planted").contains("No such file"));
    });
}

#[test]
fn tars_go_in_and_out() {
    both(|bed, look| {
        fs::create_dir_all(bed.at("in/usr/lib")).unwrap();
        fs::write(bed.at("in/usr/lib/so"), "so").unwrap();
        bed.tool("tar", &["-czf", "in.tgz", "-C", "in", "usr/lib/so"]);
        let stdin = || Stdio::from(File::open(bed.at("in.tgz")).unwrap());
        run(bed.command(&["cp", "-", "web:/tmp"]).stdin(stdin()));
        assert_eq!(look("tmp/usr/lib/so"), "so");
        // a directory that is a symlink in the container is gone through
        fs::create_dir_all(bed.at("merged/real")).unwrap();
        symlink("merged/real", bed.at("usr")).unwrap();
        bed.vellum(&["cp", "merged", "web:/"]);
        bed.vellum(&["cp", "usr", "web:/"]);
        run(bed.command(&["cp", "-", "web:/"]).stdin(stdin()));
        assert_eq!(look("merged/real/lib/so"), "so");
        let text = bed
            .command(&["cp", "-", "web:/etc/hosts"])
            .stdin(stdin())
            .output()
            .unwrap();
        assert!(live::text(&text).contains("a tar is unpacked into a directory"));

        let tar = |path: &str| {
            let out = File::create(bed.at("out.tar")).unwrap();
            run(bed.command(&["cp", path, "-"]).stdout(out));
            bed.tool("tar", &["-tf", "out.tar"])
        };
        assert_eq!(tar("web:/etc"), "etc/\netc/hosts\netc/passwd\n");
        assert_eq!(tar("web:/etc/."), "./\nhosts\npasswd\n");
        assert_eq!(tar("web:/etc/hosts"), "hosts\n");
        assert_eq!(tar("rich:1:/etc/passwd"), "passwd\n");
        assert_eq!(bed.tool("tar", &["-xOf", "out.tar"]), "root\n");
    });
}

#[test]
fn owners_are_those_of_the_destination_unless_they_are_kept() {
    both(|bed, _| {
        sh(
            "cd \"$1\"; mkdir own; echo f >own/f; chown -R 1234:5678 own; chmod 4750 own/f; chmod 711 own",
            &[bed.at("").as_os_str()],
        );
        bed.vellum(&["cp", "own", "web:/plain-own"]);
        bed.vellum(&["cp", "-a", "own", "web:/kept-own"]);
        bed.vellum(&["cp", "-a", "web:/", "all"]);
        bed.vellum(&["cp", "web:/kept-own", "mine"]);
        for (path, mode, owner) in [
            ("all/plain-own", 0o40711, (0, 0)),
            ("all/plain-own/f", 0o104750, (0, 0)),
            ("all/kept-own", 0o40711, (1234, 5678)),
            ("all/kept-own/f", 0o104750, (1234, 5678)),
            ("mine/f", 0o104750, (0, 0)),
        ] {
            let st = fs::metadata(bed.at(path)).unwrap();
            assert_eq!((st.mode(), (st.uid(), st.gid())), (mode, owner), "{path}");
        }
        let time = |path| fs::metadata(bed.at(path)).unwrap().modified().unwrap();
        assert_eq!(time("own/f"), time("all/plain-own/f"));
    });
}

/// The mount is in the directory that is copied into it.
#[test]
fn a_copy_does_not_go_into_itself() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    let mnt = bed.mnt().to_str().unwrap();
    let text = bed.fails(&["cp", mnt, "web:/etc"], 1);
    assert!(text.contains("copied into itself"), "{text}");
    bed.vellum(&["cp", &format!("{mnt}/etc"), "web:/etc2"]);
    assert_eq!(read(&bed.mnt().join("etc2/passwd")), "root\n");
    bed.umount();
}

/// What is copied into a container is its change, and gets into the image that is made of it.
#[test]
fn what_was_copied_is_committed() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    bed.umount();
    fs::write(bed.at("one"), "one").unwrap();
    bed.vellum(&["cp", "one", "web:/etc/"]);
    assert_eq!(bed.vellum(&["diff", "web"]), "C /etc\nA /etc/one\n");
    bed.vellum(&["commit", "web", "mine/web:1"]);
    bed.vellum(&["cp", "mine/web:1:/etc/one", "two"]);
    assert_eq!(read(&bed.at("two")), "one");
}
