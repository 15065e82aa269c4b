//! Command lines that podman, buildah, dockerd and containerd give, as a wrapper logged them, and
//! what must come out.

use crate::{invoke, request, with};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use vellum::cli::overlayfs::{Invocation, is_name, parse};
use vellum::fuse::{Allow, MountOptions};
use vellum::overlay::IdRange;

struct Want {
    lowers: &'static [&'static str],
    upper: Option<(&'static str, &'static str)>,
    mountpoint: &'static str,
    volatile: bool,
    ids: &'static [IdRange],
    warnings: &'static [&'static str],
}

const WANT: Want = Want {
    lowers: &["/s/l/A", "/s/l/B"],
    upper: Some(("/s/c/diff", "/s/c/work")),
    mountpoint: "/s/c/merged",
    volatile: false,
    ids: &[],
    warnings: &[],
};

const CONTAINER_IDS: &[IdRange] = &[IdRange {
    disk: 0,
    shown: 100_000,
    len: 65536,
}];

const LINES: &[(&str, &[&str], Want)] = &[
    (
        "podman run: an empty option, volatile",
        &[
            "-o",
            "lowerdir=/s/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work,,volatile",
            "/s/c/merged",
        ],
        Want {
            volatile: true,
            ..WANT
        },
    ),
    (
        "buildah mount: a comma at the end",
        &[
            "-o",
            "lowerdir=/s/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work,",
            "/s/c/merged",
        ],
        WANT,
    ),
    (
        "image mount, naive diff: no upper; the first layer by another path than the rest",
        &["-o", "lowerdir=/s/1f/diff:/s/l/B", "/s/c/merged"],
        Want {
            lowers: &["/s/1f/diff", "/s/l/B"],
            upper: None,
            ..WANT
        },
    ),
    (
        "an image without layers",
        &["-o", "lowerdir=/s/c/empty", "/s/c/merged"],
        Want {
            lowers: &["/s/c/empty"],
            upper: None,
            ..WANT
        },
    ),
    (
        "podman -v DIR:/vol:O and --rootfs DIR:O: private",
        &[
            "-o",
            "lowerdir=/x,upperdir=/s/c/diff,workdir=/s/c/work,private",
            "/s/c/merged",
        ],
        Want {
            lowers: &["/x"],
            warnings: &["private"],
            ..WANT
        },
    ),
    (
        "podman --uidmap: a colon before the first triple",
        &[
            "-o",
            "lowerdir=/s/mapped/0/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work,,volatile,\
             uidmapping=:0:100000:65536,gidmapping=:0:100000:65536",
            "/s/c/merged",
        ],
        Want {
            lowers: &["/s/mapped/0/l/A", "/s/l/B"],
            volatile: true,
            ids: CONTAINER_IDS,
            ..WANT
        },
    ),
    (
        "SELinux: a quoted label with a comma",
        &[
            "-o",
            "lowerdir=/s/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work,volatile,\
             context=\"system_u:object_r:container_file_t:s0:c86,c201\",\
             uidmapping=:0:100000:65536,gidmapping=:0:100000:65536",
            "/s/c/merged",
        ],
        Want {
            volatile: true,
            ids: CONTAINER_IDS,
            warnings: &["context"],
            ..WANT
        },
    ),
    (
        "dockerd 20.10",
        &[
            "-o",
            "lowerdir=/s/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work",
            "/s/c/merged",
        ],
        WANT,
    ),
    (
        "containerd by mount.fuse3: source and target before the options, in another order",
        &[
            "overlay",
            "/s/c/merged",
            "-o",
            "workdir=/s/c/work,upperdir=/s/c/diff,lowerdir=/s/l/A:/s/l/B,dev,suid",
        ],
        WANT,
    ),
    (
        "mountopt from storage.conf: what is not known is accepted",
        &[
            "-o",
            "lowerdir=/s/l/A:/s/l/B,upperdir=/s/c/diff,workdir=/s/c/work,\
             xino=off,lazytime,redirect_dir=off,metacopy=on,new-fangled=1",
            "/s/c/merged",
        ],
        Want {
            warnings: &["lazytime", "new-fangled"],
            ..WANT
        },
    ),
];

#[test]
fn logged_command_lines() {
    for (name, args, want) in LINES {
        let got = request(args);
        let paths: Vec<&Path> = want.lowers.iter().map(Path::new).collect();
        assert_eq!(got.config.lowers, paths, "{name}");
        let upper = got.config.upper.as_ref();
        assert_eq!(
            upper.map(|u| (u.upper.as_path(), u.work.as_path())),
            want.upper.map(|(u, w)| (Path::new(u), Path::new(w))),
            "{name}"
        );
        assert_eq!(got.mountpoint, Path::new(want.mountpoint), "{name}");
        assert_eq!(upper.is_some_and(|u| u.volatile), want.volatile, "{name}");
        assert_eq!(got.mount.fsync, !want.volatile, "{name}");
        assert_eq!(got.config.ids.uid, want.ids, "{name}");
        assert_eq!(got.config.ids.gid, want.ids, "{name}");
        assert!(!got.foreground, "{name}");
        assert_eq!(
            got.warnings.len(),
            want.warnings.len(),
            "{:?}",
            got.warnings
        );
        for (warning, word) in got.warnings.iter().zip(want.warnings) {
            assert!(warning.contains(word), "{name}: {warning}");
        }
    }
}

#[test]
fn one_mapping_of_one_id_comes_as_squash() {
    let got = with("squash_to_uid=1000,squash_to_gid=1001");
    assert_eq!(got.config.ids.squash_uid, Some(1000));
    assert_eq!(got.config.ids.squash_gid, Some(1001));
}

#[test]
fn five_hundred_layers() {
    let layers: Vec<String> = (0..500).map(|n| format!("/s/l/{n:026}")).collect();
    let got = request(&["-o", &format!("lowerdir={}", layers.join(":")), "/m"]);
    assert_eq!(got.config.lowers.len(), 500);
    assert_eq!(got.config.lowers[499], Path::new(&layers[499]));
}

#[test]
fn options_before_after_and_among_the_arguments() {
    for args in [
        &["-o", "lowerdir=/a,ro", "/m"][..],
        &["/m", "-o", "lowerdir=/a,ro"],
        &["-olowerdir=/a,ro", "/m"],
        &["-o", "lowerdir=/a", "/m", "-o", "ro"],
        &["overlay", "-o", "lowerdir=/a", "/m", "-oro"],
        &["-o", "lowerdir=/a,ro", "--", "/m"],
        &["-r", "-o", "lowerdir=/a", "/m"],
    ] {
        let got = request(args);
        assert_eq!(got.config.lowers, [PathBuf::from("/a")], "{args:?}");
        assert_eq!(got.mountpoint, Path::new("/m"), "{args:?}");
        let flags = got.mount.flags;
        assert!(flags.contains(nix::mount::MsFlags::MS_RDONLY), "{args:?}");
    }
}

#[test]
fn the_source_is_the_name_in_the_mount_table_unless_there_is_another() {
    let name = |args: &[&str]| request(args).mount.fsname;
    assert_eq!(
        name(&["-o", "lowerdir=/a", "/m"]),
        MountOptions::default().fsname
    );
    assert_eq!(name(&["overlay", "/m", "-o", "lowerdir=/a"]), "overlay");
    assert_eq!(name(&["overlay", "/m", "-o", "lowerdir=/a,fsname=x"]), "x");
}

#[test]
fn single_letters() {
    let got = request(&["-f", "-o", "lowerdir=/a", "/m"]);
    assert!(got.foreground && !got.mount.debug);
    assert!(got.mount.threads > 1);
    let got = request(&["-d", "-o", "lowerdir=/a", "/m"]);
    assert!(got.foreground && got.mount.debug);
    let got = request(&["-sf", "-o", "lowerdir=/a", "/m"]);
    assert!(got.foreground);
    assert_eq!(got.mount.threads, 1);
    let got = request(&["-o", "lowerdir=/a,debug", "/m"]);
    assert!(got.foreground && got.mount.debug);
    assert_eq!(got.mount.allow, Allow::Auto);
}

#[test]
fn version_and_help_need_nothing_else() {
    for args in [
        &["-V"][..],
        &["--version"],
        &["--version", "/m"],
        &["-o", "ro", "-V"],
    ] {
        assert!(matches!(invoke(args), Ok(Invocation::Version)), "{args:?}");
    }
    for args in [&["-h"][..], &["--help"]] {
        assert!(matches!(invoke(args), Ok(Invocation::Help)), "{args:?}");
    }
}

#[test]
fn what_is_no_mount_is_refused() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "no mountpoint"),
        (&["-o", "lowerdir=/a"], "no mountpoint"),
        (&["-o", "lowerdir=/a", ""], "mountpoint is empty"),
        (&["/m"], "lowerdir"),
        (&["-o", "upperdir=/u,workdir=/w", "/m"], "lowerdir"),
        (&["-o", "lowerdir=", "/m"], "names no layer"),
        (&["-o", "lowerdir=/a,upperdir=/u", "/m"], "work directory"),
        (
            &["-o", "lowerdir=/a,upperdir=,workdir=/w", "/m"],
            "needs a path",
        ),
        (&["-o", "lowerdir=/a::/b", "/m"], "data-only"),
        (
            &["-o", "lowerdir=/a", "s", "/m", "x"],
            "one argument too many",
        ),
        (&["-o"], "needs a value"),
        (&["-x", "-o", "lowerdir=/a", "/m"], "unknown option -x"),
        (&["--lower", "/a", "/m"], "unknown option --lower"),
        (&["-o", "context=\"x,lowerdir=/a", "/m"], "not closed"),
    ];
    for (args, why) in cases {
        match invoke(args) {
            Err(e) => assert!(e.contains(why), "{args:?}: {e}"),
            other => panic!("{args:?}: {other:?}"),
        }
    }
}

#[test]
fn paths_are_bytes() {
    let odd = OsString::from_vec(b"lowerdir=/a\xff\\:b:/c\n".to_vec());
    let args = [
        OsString::from("-o"),
        odd,
        OsString::from_vec(b"/m\xfe".to_vec()),
    ];
    let Ok(Invocation::Mount(got)) = parse(OsStr::new("fuse-overlayfs"), args) else {
        panic!("refused");
    };
    let want: Vec<PathBuf> = [&b"/a\xff:b"[..], b"/c\n"]
        .iter()
        .map(|p| OsString::from_vec(p.to_vec()).into())
        .collect();
    assert_eq!(got.config.lowers, want);
    assert_eq!(got.mountpoint.into_os_string().into_vec(), b"/m\xfe");
}

#[test]
fn names_that_ask_for_the_drop_in_form() {
    for name in [
        "vellum-overlayfs",
        "/usr/bin/fuse-overlayfs",
        "./mount.fuse.vellum-overlayfs",
        "/sbin/mount.vellum",
    ] {
        assert!(is_name(OsStr::new(name)), "{name}");
    }
    for name in ["vellum", "/opt/overlayfs/vellum", "", "mount"] {
        assert!(!is_name(OsStr::new(name)), "{name}");
    }
}

#[test]
fn a_helper_of_mount8_has_its_letters() {
    let helper = OsStr::new("/sbin/mount.fuse.vellum-overlayfs");
    let line = |args: &[&str]| parse(helper, args.iter().map(OsString::from));
    let common = [
        "overlay",
        "/m",
        "-n",
        "-s",
        "-v",
        "-t",
        "fuse.vellum-overlayfs",
    ];
    let with = |extra: &[&'static str]| line(&[&common[..], extra].concat());
    let Ok(Invocation::Mount(got)) = with(&["-o", "rw,lowerdir=/a"]) else {
        panic!("refused");
    };
    assert!(!got.foreground && got.mount.threads > 1);
    assert!(matches!(
        with(&["-f", "-o", "lowerdir=/a"]),
        Ok(Invocation::Fake(_))
    ));
    assert!(with(&["-N", "1", "-o", "lowerdir=/a"]).is_err());
}
