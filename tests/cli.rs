//! The program itself: help, exit codes, and refusals before anything is touched. Mounts that
//! succeed are tested elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const VELLUM: &str = env!("CARGO_BIN_EXE_vellum");

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn vellum(args: &[&str]) -> Ran {
    ran(Command::new(VELLUM).args(args).output().unwrap())
}

/// The program under another name.
fn called(name: &str, args: &[&str]) -> Ran {
    ran(Command::new(VELLUM).arg0(name).args(args).output().unwrap())
}

/// Directories `low`, `up`, `work` and `mnt`, with something in each but `work` and `mnt`.
struct Dirs(tempfile::TempDir);

impl Dirs {
    fn new() -> Dirs {
        let dirs = Dirs(tempfile::tempdir().unwrap());
        for name in ["low/sub", "up", "work", "mnt"] {
            fs::create_dir_all(dirs.0.path().join(name)).unwrap();
        }
        fs::write(dirs.0.path().join("low/file"), "low").unwrap();
        fs::write(dirs.0.path().join("up/file"), "up").unwrap();
        dirs
    }

    /// Runs in it, and checks that nothing came or went, and nothing was mounted.
    fn refuses(&self, name: &str, args: &[&str]) -> Ran {
        let before = self.state();
        let ran = ran(Command::new(VELLUM)
            .arg0(name)
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap());
        assert_ne!(ran.code, 0, "{args:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert_eq!(self.state(), before, "{args:?}");
        ran
    }

    fn state(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut all = BTreeMap::new();
        let mut todo = vec![self.0.path().to_owned()];
        while let Some(path) = todo.pop() {
            let m = fs::symlink_metadata(&path).unwrap();
            if m.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            all.insert(path, (m.dev(), m.ctime(), m.ctime_nsec()));
        }
        all
    }
}

#[test]
fn help_names_commands_and_examples() {
    let help = vellum(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for line in [
        "Stack image layers and use them as one file system",
        "Usage: vellum <COMMAND>",
        "  mount        Mount an image, or a stack of directories",
        "  umount       Unmount what was mounted",
        "  overlayfs    Mount with the command line of fuse-overlayfs",
        "  vellum mount --lower app --lower base --upper changes --work work /mnt",
        "  mount_program = \"/usr/local/bin/vellum-overlayfs\"",
    ] {
        assert!(
            help.stdout.lines().any(|l| l == line),
            "{line}\n{}",
            help.stdout
        );
    }
    let mount = vellum(&["mount", "--help"]);
    assert_eq!(mount.code, 0);
    for option in [
        "--lower",
        "--upper",
        "--work",
        "--io",
        "--read-only",
        "--foreground",
        "-o",
    ] {
        assert!(mount.stdout.contains(option), "{option}");
    }
    assert!(vellum(&["umount", "--help"]).stdout.contains("--lazy"));
}

#[test]
fn every_command_has_a_line_of_help() {
    let help = vellum(&["--help"]).stdout;
    let commands = help.split_once("Commands:\n").unwrap().1;
    let commands = commands.split_once("\n\n").unwrap().0;
    assert!(commands.lines().count() >= 5, "{commands}");
    for line in commands.lines() {
        let words = line.split_whitespace().count();
        assert!((3..=14).contains(&words) && line.len() <= 80, "{line}");
    }
}

#[test]
fn versions() {
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(vellum(&["--version"]).stdout, format!("vellum {number}\n"));
    for name in [
        "vellum-overlayfs",
        "/usr/bin/fuse-overlayfs",
        "mount.fuse.vellum-overlayfs",
    ] {
        for arg in ["-V", "--version"] {
            let version = called(name, &[arg]);
            assert_eq!((version.code, version.stderr.as_str()), (0, ""), "{name}");
            let first = version.stdout.lines().next();
            assert_eq!(first, Some(&*format!("vellum-overlayfs: version {number}")));
        }
    }
    assert_eq!(
        vellum(&["overlayfs", "-V"]).stdout,
        called("vellum-overlayfs", &["-V"]).stdout
    );
}

#[test]
fn the_drop_in_form_is_chosen_by_name_also_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("fuse-overlayfs");
    symlink(VELLUM, &link).unwrap();
    let help = ran(Command::new(&link).arg("--help").output().unwrap());
    assert_eq!(help.code, 0);
    assert!(
        help.stdout.starts_with("Usage: vellum-overlayfs"),
        "{}",
        help.stdout
    );
    for option in ["lowerdir=", "uidmapping=", "volatile", "noatime", "io="] {
        assert!(help.stdout.contains(&format!("\n  {option}")), "{option}");
    }
}

#[test]
fn a_reader_of_help_may_stop_early() {
    let mut child = Command::new(VELLUM)
        .args(["overlayfs", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = ran(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn usage_errors_exit_with_2() {
    let dirs = Dirs::new();
    let cases: &[(&str, &[&str], &str)] = &[
        ("vellum", &[], "Usage: vellum"),
        ("vellum", &["mont"], "mont"),
        ("vellum", &["mount"], "MOUNTPOINT"),
        ("vellum", &["mount", "mnt"], "no layer"),
        (
            "vellum",
            &["mount", "--lower", "low", "--upper", "up", "mnt"],
            "--work",
        ),
        (
            "vellum",
            &["mount", "--lower", "low", "--work", "work", "mnt"],
            "--upper",
        ),
        (
            "vellum",
            &["mount", "--lower", "low", "--io", "fast", "mnt"],
            "passthrough",
        ),
        (
            "vellum",
            &["mount", "--lower", "low", "-o", "index=on", "mnt"],
            "index=on",
        ),
        (
            "vellum",
            &["mount", "--lower", "low", "-o", "lowerdir=low", "mnt"],
            "--lower",
        ),
        ("vellum", &["umount"], "MOUNTPOINT"),
        ("vellum", &["overlayfs", "mnt"], "no lower layer"),
        ("vellum-overlayfs", &["mnt"], "no lower layer"),
        ("vellum-overlayfs", &["-o", "lowerdir=low"], "no mountpoint"),
        (
            "vellum-overlayfs",
            &["-o", "lowerdir=low,upperdir=up", "mnt"],
            "work directory",
        ),
        (
            "vellum-overlayfs",
            &["-o", "lowerdir=low,timeout=x", "mnt"],
            "timeout=x",
        ),
        (
            "vellum-overlayfs",
            &["-o", "lowerdir=low,nfs_export=on", "mnt"],
            "index",
        ),
        ("fuse-overlayfs", &["--frobnicate", "mnt"], "--frobnicate"),
    ];
    for (name, args, why) in cases {
        let ran = dirs.refuses(name, args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
}

/// The forms of one mount: `vellum mount`, and the drop-in form.
fn both(lower: &str, upper: Option<(&str, &str)>, mnt: &str) -> [(&'static str, Vec<String>); 2] {
    let mut mount = vec!["mount".to_owned(), "--lower".into(), lower.into()];
    let mut options = format!("lowerdir={lower}");
    if let Some((upper, work)) = upper {
        mount.extend(["--upper", upper, "--work", work].map(String::from));
        options.push_str(&format!(",upperdir={upper},workdir={work}"));
    }
    mount.push(mnt.into());
    [
        ("vellum", mount),
        ("vellum-overlayfs", vec!["-o".into(), options, mnt.into()]),
    ]
}

#[test]
fn failures_exit_with_1_and_name_operation_path_and_cause() {
    let dirs = Dirs::new();
    let upper = Some(("up", "work"));
    let cases = [
        (
            "a missing layer",
            both("none", None, "mnt"),
            "none",
            "ENOENT",
        ),
        (
            "a layer that is a file",
            both("low/file", None, "mnt"),
            "low/file",
            "ENOTDIR",
        ),
        (
            "a missing upper",
            both("low", Some(("none", "work")), "mnt"),
            "none",
            "ENOENT",
        ),
        (
            "a missing work",
            both("low", Some(("up", "none")), "mnt"),
            "none",
            "ENOENT",
        ),
        (
            "a missing mountpoint",
            both("low", upper, "none"),
            "none",
            "ENOENT",
        ),
        (
            "a mountpoint in a layer",
            both("low", None, "low/sub"),
            "low/sub",
            "EINVAL",
        ),
        (
            "a layer in the mountpoint",
            both("low/sub", None, "low"),
            "low/sub",
            "EINVAL",
        ),
        (
            "the upper in a layer",
            both("low", Some(("low/sub", "work")), "mnt"),
            "low/sub",
            "EINVAL",
        ),
        (
            "the work in the upper",
            both("low", Some(("up", "up")), "mnt"),
            "up",
            "EINVAL",
        ),
    ];
    for (what, forms, path, errno) in cases {
        for (name, args) in forms {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let ran = dirs.refuses(name, &args);
            assert_eq!(ran.code, 1, "{what}: {}", ran.stderr);
            let mountpoint = args.last().unwrap();
            let begin = format!("{name}: mount {mountpoint}: ");
            assert!(ran.stderr.starts_with(&begin), "{what}: {}", ran.stderr);
            assert!(ran.stderr.contains(path), "{what}: {}", ran.stderr);
            let end = format!("({errno})\n");
            assert!(ran.stderr.ends_with(&end), "{what}: {}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{what}: {}", ran.stderr);
        }
    }
}

#[test]
fn what_is_not_mounted_is_not_unmounted() {
    let dirs = Dirs::new();
    for args in [&["umount", "mnt"][..], &["umount", "--lazy", "none", "mnt"]] {
        let ran = dirs.refuses("vellum", args);
        assert_eq!(ran.code, 1);
        assert_eq!(
            ran.stderr.lines().count(),
            args.iter()
                .filter(|a| **a == "mnt" || **a == "none")
                .count()
        );
        assert!(
            ran.stderr.contains("vellum: umount mnt: "),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn warnings_come_before_the_failure() {
    let dirs = Dirs::new();
    let ran = dirs.refuses(
        "vellum-overlayfs",
        &["-o", "lowerdir=none,xyzzy,private", "mnt"],
    );
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stderr);
    assert!(lines[0].starts_with("vellum-overlayfs: warning: option xyzzy "));
    assert!(lines[1].starts_with("vellum-overlayfs: warning: option private "));
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let out = vellum(&["completions", shell]);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""));
        assert!(
            out.stdout.contains("umount") && out.stdout.contains("lazy"),
            "{shell}"
        );
    }
    let page = vellum(&["man"]);
    assert_eq!(page.code, 0);
    assert!(page.stdout.contains(".TH vellum 1"), "{}", page.stdout);
    assert!(vellum(&["man", "mount"]).stdout.contains("\\-\\-lower"));
    assert_eq!(vellum(&["man", "mont"]).code, 2);
}

/// `--fake` of mount(8), which a helper gets as `-f`: all is checked, nothing is mounted.
#[test]
fn a_dry_run_of_a_mount_helper() {
    let args = ["overlay", "/nowhere", "-f", "-o", "lowerdir=/none,_netdev"];
    let ran = called("/sbin/mount.vellum-overlayfs", &args);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("_netdev"), "{}", ran.stderr);
    assert!(!Path::new("/nowhere").exists());
}

/// Processes share what is at a fixed place (build.rs).
#[test]
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]
fn the_program_has_a_fixed_place_unless_asked_otherwise() {
    const EXECUTABLE: u8 = 2; // ET_EXEC; a PIE is ET_DYN
    let kind = fs::read(VELLUM).unwrap()[16];
    assert_eq!(kind == EXECUTABLE, !cfg!(feature = "pie"));
}

#[test]
fn what_a_process_says_to_itself_is_refused_from_others() {
    let ran_alone = vellum(&["--look-after", "web"]);
    assert_eq!(ran_alone.code, 125);
    assert!(ran_alone.stderr.contains("what a process says to itself"));
    let luggage = r#"{"store":"/nowhere","folder":"/nowhere","lock":99,"made":[]}"#;
    let no_lock = vellum(&["--look-after", "web", luggage]);
    assert_eq!(no_lock.code, 125);
    assert!(
        no_lock.stderr.contains("file descriptor 99"),
        "{}",
        no_lock.stderr
    );
}

/// Nothing has to be loaded first, and one volume that is damaged does not hide another.
#[test]
fn volumes_need_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let volume = |args: &[&str]| {
        let mut command = Command::new(VELLUM);
        ran(command
            .arg("volume")
            .args(args)
            .arg("--root")
            .arg(&root)
            .output()
            .unwrap())
    };
    for name in ["first", "second"] {
        let made = volume(&["create", name]);
        assert_eq!(
            (made.code, made.stdout),
            (0, format!("{name}\n")),
            "{}",
            made.stderr
        );
    }
    fs::write(root.join("vellum/volumes/first/volume.json"), "{").unwrap();
    let listed = volume(&["ls", "--quiet"]);
    assert_eq!(
        (listed.code, &*listed.stdout),
        (0, "second\n"),
        "{}",
        listed.stderr
    );
    assert!(
        listed.stderr.contains("volume \"first\""),
        "{}",
        listed.stderr
    );
}
