//! The life of a mount: it begins when the command returns, ends without a trace, survives what
//! happens to its process, and does not begin where it must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;

use live::{Stack, alive, digest, kill, may_mount, mounts_on, run, sh, text, wait_for};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn exit_0_means_ready() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(2);
    stack.lower(1, "etc/name", "below");
    stack.lower(0, "etc/other", "above");
    stack.mount(&[]);
    assert_eq!(
        fs::read_to_string(stack.mnt.join("etc/name")).unwrap(),
        "below"
    );
    assert_eq!(stack.mounts(), 1);
    assert_eq!(stack.daemons().len(), 1);
    fs::write(stack.mnt.join("etc/name"), "changed").unwrap();
    assert_eq!(
        fs::read_to_string(stack.upper.join("etc/name")).unwrap(),
        "changed"
    );
    assert_eq!(
        fs::read_to_string(stack.lowers[1].join("etc/name")).unwrap(),
        "below"
    );
}

#[test]
fn two_hundred_rounds_on_one_directory_lose_no_mount() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.lower(0, "base", "base");
    for round in 0..200 {
        stack.mount(&[]);
        assert_eq!(stack.mounts(), 1, "round {round}");
        assert_eq!(fs::read_to_string(stack.mnt.join("base")).unwrap(), "base");
        assert_eq!(
            fs::read_dir(&stack.mnt).unwrap().count(),
            round + 1,
            "round {round}"
        );
        fs::write(stack.mnt.join(format!("round{round}")), "x").unwrap();
        match round % 3 {
            0 => run(Command::new("fusermount3").arg("-u").arg(&stack.mnt)),
            1 => run(Command::new("umount").arg(&stack.mnt)),
            _ => run(Command::new("umount").arg("-l").arg(&stack.mnt)),
        };
        assert_eq!(stack.mounts(), 0, "round {round}");
    }
    assert!(
        wait_for(SOON, || stack.daemons().is_empty()),
        "left: {:?}",
        stack.daemons()
    );
}

#[test]
fn our_own_umount_works_and_refuses_what_is_no_mount_of_ours() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let umount = |args: &[&str]| {
        let mut command = Command::new(live::VELLUM);
        command
            .arg("umount")
            .args(args)
            .arg(&stack.mnt)
            .output()
            .unwrap()
    };
    let out = umount(&[]);
    assert!(
        !out.status.success() && text(&out).contains("not a FUSE mount"),
        "{}",
        text(&out)
    );
    stack.mount(&[]);
    let held = File::open(&stack.mnt).unwrap();
    let out = umount(&[]);
    assert!(
        !out.status.success(),
        "a mount in use was unmounted: {}",
        text(&out)
    );
    assert_eq!(stack.mounts(), 1);
    let out = umount(&["--lazy"]);
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(stack.mounts(), 0);
    drop(held);
    assert!(wait_for(SOON, || stack.daemons().is_empty()));
}

#[test]
fn sigterm_unmounts() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    for signal in ["-TERM", "-INT", "-HUP"] {
        stack.mount(&[]);
        fs::write(stack.mnt.join("kept"), signal).unwrap();
        let [pid] = stack.daemons()[..] else {
            panic!("daemons: {:?}", stack.daemons())
        };
        kill(signal, pid);
        assert!(
            wait_for(SOON, || stack.mounts() == 0),
            "{signal}: still mounted"
        );
        assert!(wait_for(SOON, || !alive(pid)), "{signal}: the daemon stays");
        assert_eq!(
            fs::read_to_string(stack.upper.join("kept")).unwrap(),
            signal
        );
    }
}

#[test]
fn who_reads_the_commands_output_sees_its_end() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let mut child = stack
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipes: Vec<Box<dyn std::io::Read + Send>> = vec![
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    let ended = std::thread::spawn(move || {
        for pipe in &mut pipes {
            std::io::copy(pipe, &mut std::io::sink()).unwrap();
        }
    });
    assert!(child.wait().unwrap().success());
    assert!(
        wait_for(SOON, || ended.is_finished()),
        "the daemon holds the caller's stderr"
    );
    // nor has it kept anything else that it was born with
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let to = fs::read_link(fd.unwrap().path()).unwrap();
        assert!(
            !to.to_string_lossy().starts_with("pipe:"),
            "the daemon holds {}",
            to.display()
        );
    }
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        Path::new("/")
    );
}

#[test]
fn in_the_foreground_the_command_stays() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let mut child = stack.command(&["--foreground"]).spawn().unwrap();
    assert!(wait_for(SOON, || stack.mounts() == 1));
    assert!(child.try_wait().unwrap().is_none());
    stack.umount();
    assert!(child.wait().unwrap().success());
}

/// Writes versions of files, each by write, fsync, rename, fsync of the directory, and remembers
/// the last one of each that was acknowledged; until the mount dies.
fn write_versions(dir: &Path, go_on: &AtomicBool, done: &AtomicU64) -> Vec<u64> {
    let mut acknowledged = vec![0; 4];
    for version in 1.. {
        let file = (version % 4) as usize;
        let (new, name) = (dir.join(format!("new{file}")), dir.join(format!("f{file}")));
        let written = File::create(&new)
            .and_then(|mut f| f.write_all(&content(version)).map(|()| f))
            .and_then(|f| f.sync_all())
            .and_then(|()| fs::rename(&new, &name))
            .and_then(|()| File::open(dir)?.sync_all());
        if written.is_err() || !go_on.load(Ordering::Relaxed) {
            break;
        }
        acknowledged[file] = version;
        done.store(version, Ordering::Relaxed);
    }
    acknowledged
}

/// Version `n` of a file: 64 KiB that say so everywhere.
fn content(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(8192)
}

#[test]
fn what_was_fsynced_survives_kill_9_and_nothing_is_half_there() {
    if !may_mount() {
        return;
    }
    for io in ["cached", "passthrough"] {
        let stack = Stack::new(1);
        for file in 0..4 {
            stack.lower(0, &format!("d/f{file}"), content(0));
        }
        for i in 0..40 {
            stack.lower(0, &format!("big/{i}"), vec![b'o'; 4 << 20]);
        }
        let before = digest(&stack.lowers[0]);
        stack.mount(&["--io", io]);
        let [pid] = stack.daemons()[..] else {
            panic!("daemons: {:?}", stack.daemons())
        };
        let (go_on, done) = (AtomicBool::new(true), AtomicU64::new(0));
        let acknowledged = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_versions(&stack.mnt.join("d"), &go_on, &done));
            // copy-ups run all the while, one of them is cut short
            let copier = scope.spawn(|| {
                for i in 0..40 {
                    let path = stack.mnt.join(format!("big/{i}"));
                    if fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).is_err()
                        || fs::OpenOptions::new()
                            .append(true)
                            .open(&path)
                            .and_then(|mut f| f.write_all(b"n"))
                            .is_err()
                    {
                        break;
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(700));
            // each file once at least, however slow the disk is
            live::wait_for(Duration::from_secs(60), || done.load(Ordering::Relaxed) > 4);
            kill("-KILL", pid);
            go_on.store(false, Ordering::Relaxed);
            copier.join().unwrap();
            writer.join().unwrap()
        });
        assert!(
            acknowledged.iter().all(|v| *v > 0),
            "nothing was written in time: {acknowledged:?}"
        );
        // the mount is dead, and says so; it goes away by umount -l, and the next one works
        // (ENOTCONN; while the daemon is still dying, it is as before, or the question is cut off)
        let dead = || fs::metadata(&stack.mnt).is_err_and(|e| e.raw_os_error() == Some(107));
        assert!(
            wait_for(Duration::from_secs(10), dead),
            "the mount does not say that it is dead"
        );
        run(Command::new("umount").arg("-l").arg(&stack.mnt));
        stack.mount(&["--io", io]);
        check_versions(&stack.mnt.join("d"), &acknowledged);
        for i in 0..40 {
            let data = fs::read(stack.mnt.join(format!("big/{i}"))).unwrap();
            assert!(
                data.len() == 4 << 20 || data.len() == (4 << 20) + 1,
                "{io}: big/{i}: {} bytes",
                data.len()
            );
            assert!(
                data[..4 << 20].iter().all(|b| *b == b'o'),
                "{io}: big/{i} is half copied"
            );
        }
        let staged = sh("find \"$1\" -mindepth 2", &[stack.work.as_os_str()]);
        assert_eq!(staged, "", "{io}: the work directory was not swept");
        stack.umount();
        assert_eq!(digest(&stack.lowers[0]), before, "{io}: the lower changed");
    }
}

fn check_versions(dir: &Path, acknowledged: &[u64]) {
    for (file, last) in acknowledged.iter().enumerate() {
        let data = fs::read(dir.join(format!("f{file}"))).unwrap();
        let version = u64::from_le_bytes(data[..8].try_into().unwrap());
        assert_eq!(data, content(version), "f{file} is half written");
        // the one under way when it died may be there too: it differs by one turn
        assert!(
            version == *last || version == last + 4,
            "f{file}: {version}, acknowledged {last}"
        );
    }
}

#[test]
fn a_daemon_leaves_its_successor_alone() {
    if !may_mount() {
        return;
    }
    let first = Stack::new(1);
    first.lower(0, "who", "first");
    let second = Stack::new(1);
    second.lower(0, "who", "second");
    let mount_second_there = || {
        let mut command = Command::new(live::VELLUM);
        command
            .arg("mount")
            .arg("--lower")
            .arg(&second.lowers[0])
            .arg(&first.mnt);
        run(&mut command);
    };
    let who = || fs::read_to_string(first.mnt.join("who")).unwrap();
    // stacked on it, or put in its place while a file keeps the first alive
    for stacked in [true, false] {
        first.mount(&[]);
        let [pid] = first.daemons()[..] else {
            panic!("daemons: {:?}", first.daemons())
        };
        let held = File::open(first.mnt.join("who")).unwrap();
        if !stacked {
            run(Command::new("umount").arg("-l").arg(&first.mnt));
        }
        mount_second_there();
        assert_eq!(who(), "second");
        kill("-TERM", pid);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(who(), "second", "stacked: {stacked}");
        drop(held);
        if !stacked {
            assert!(wait_for(SOON, || !alive(pid)), "the first daemon stays");
        }
        assert_eq!(who(), "second", "stacked: {stacked}");
        run(Command::new("umount").arg(&first.mnt));
        if stacked && first.mounts() == 1 {
            run(Command::new("umount").arg(&first.mnt));
        }
        assert!(
            wait_for(SOON, || first.daemons().is_empty()),
            "left: {:?}",
            first.daemons()
        );
    }
}

#[test]
fn five_hundred_layers() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(500);
    for i in 0..500 {
        stack.lower(i, &format!("only/in{i}"), i.to_string());
        stack.lower(i, "everywhere", i.to_string());
    }
    stack.mount(&[]);
    assert_eq!(
        fs::read_to_string(stack.mnt.join("everywhere")).unwrap(),
        "0"
    );
    assert_eq!(fs::read_dir(stack.mnt.join("only")).unwrap().count(), 500);
    for i in [0, 1, 63, 255, 256, 498, 499] {
        let path = stack.mnt.join(format!("only/in{i}"));
        assert_eq!(fs::read_to_string(path).unwrap(), i.to_string());
    }
    fs::remove_file(stack.mnt.join("only/in499")).unwrap();
    fs::write(stack.mnt.join("everywhere"), "upper").unwrap();
    stack.umount();
    stack.mount(&[]);
    assert!(!stack.mnt.join("only/in499").exists());
    assert_eq!(
        fs::read_to_string(stack.mnt.join("everywhere")).unwrap(),
        "upper"
    );
    assert!(stack.lowers[499].join("only/in499").exists());
}

#[test]
fn a_read_only_mount_needs_no_upper() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.lower(0, "f", "data");
    let mut command = Command::new(live::VELLUM);
    run(command
        .arg("mount")
        .arg("--lower")
        .arg(&stack.lowers[0])
        .arg(&stack.mnt));
    assert_eq!(fs::read_to_string(stack.mnt.join("f")).unwrap(), "data");
    let refused = fs::write(stack.mnt.join("g"), "x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(30), "{refused}");
    assert_eq!(fs::metadata(stack.mnt.join("f")).unwrap().len(), 4);
}

#[test]
fn remount_to_read_only_and_back() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.mount(&[]);
    // -i: without it mount(8) starts its FUSE helper, which wants an installed program
    let remount = |how: &str| {
        run(Command::new("mount")
            .args(["-i", "-o", how])
            .arg(&stack.mnt))
    };
    let file = stack.mnt.join("f");
    fs::write(&file, "x").unwrap();
    remount("remount,ro");
    let refused = fs::write(&file, "y").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(30), "{refused}");
    remount("remount,rw");
    fs::write(&file, "z").unwrap();
    assert_eq!(fs::read_to_string(stack.upper.join("f")).unwrap(), "z");
}

/// What there is in the test's directory, to see that a refusal touched nothing.
fn state(stack: &Stack) -> String {
    let all = sh(
        "cd \"$1\" && find . -printf '%p %y %m %T@ %s\\n' | sort && getfattr -R -h -d -m- . 2>/dev/null",
        &[stack.dir().as_os_str()],
    );
    assert!(all.lines().count() > 3);
    all
}

/// Demands that the command is refused with these words, and that nothing was touched.
#[track_caller]
fn refused(stack: &Stack, command: &mut Command, words: &[&str]) {
    let before = state(stack);
    let mounts = stack.mounts();
    let out = command.output().unwrap();
    let said = text(&out);
    assert!(!out.status.success(), "{command:?} was not refused: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{command:?} does not name {word:?}: {said}"
        );
    }
    assert_eq!(stack.mounts(), mounts, "{command:?} left a mount: {said}");
    assert_eq!(
        state(stack),
        before,
        "{command:?} touched something: {said}"
    );
    assert!(
        wait_for(SOON, || stack.daemons().len() == mounts),
        "{command:?} left a daemon: {said}"
    );
}

fn vellum(stack: &Stack, lower: &Path, upper: &Path, work: &Path, mnt: &Path) -> Command {
    let mut command = Command::new(live::VELLUM);
    command
        .arg("mount")
        .arg("--lower")
        .arg(lower)
        .arg("--upper")
        .arg(upper);
    command
        .arg("--work")
        .arg(work)
        .arg(mnt)
        .current_dir(stack.dir());
    command
}

#[test]
fn places_that_lie_in_each_other_are_refused() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(2);
    for dir in ["lower0/in", "lower0/in/deep", "upper/in", "mnt/in"] {
        fs::create_dir(s.dir().join(dir)).unwrap();
    }
    std::os::unix::fs::symlink("lower0/in", s.dir().join("link")).unwrap();
    let at = |p: &str| s.dir().join(p);
    let (low, up, work, mnt) = (&s.lowers[0], &s.upper, &s.work, &s.mnt);
    // a mountpoint in a layer
    for inside in ["lower0", "lower0/in/deep", "link/deep", "upper/in", "work"] {
        refused(
            &s,
            &mut vellum(&s, low, up, work, &at(inside)),
            &["mountpoint", "inside the other"],
        );
    }
    // a layer in the mountpoint
    refused(
        &s,
        &mut vellum(&s, &at("mnt/in"), up, work, mnt),
        &["mountpoint", "mnt/in"],
    );
    refused(&s, &mut vellum(&s, low, up, work, s.dir()), &["mountpoint"]);
    // the upper or the work directory in a layer, and the other way round
    refused(
        &s,
        &mut vellum(&s, low, &at("lower0/in"), work, mnt),
        &["upper", "lower0/in"],
    );
    refused(
        &s,
        &mut vellum(&s, low, up, &at("lower0/in"), mnt),
        &["work", "lower0/in"],
    );
    refused(
        &s,
        &mut vellum(&s, &at("upper/in"), up, work, mnt),
        &["upper/in"],
    );
    refused(
        &s,
        &mut vellum(&s, low, up, &at("upper/in"), mnt),
        &["upper"],
    );
    refused(&s, &mut vellum(&s, low, up, up, mnt), &["upper"]);
}

#[test]
fn layers_that_cannot_be_used_are_refused() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    let at = |p: &str| s.dir().join(p);
    fs::write(at("file"), "no directory").unwrap();
    let (low, up, work, mnt) = (&s.lowers[0], &s.upper, &s.work, &s.mnt);
    refused(
        &s,
        &mut vellum(&s, &at("gone"), up, work, mnt),
        &["gone", "No such file"],
    );
    refused(
        &s,
        &mut vellum(&s, &at("file"), up, work, mnt),
        &["file", "Not a directory"],
    );
    refused(&s, &mut vellum(&s, low, &at("gone"), work, mnt), &["gone"]);
    refused(&s, &mut vellum(&s, low, &at("file"), work, mnt), &["file"]);
    refused(&s, &mut vellum(&s, low, up, &at("gone"), mnt), &["gone"]);
    refused(&s, &mut vellum(&s, low, up, work, &at("gone")), &["gone"]);
    refused(&s, &mut vellum(&s, low, up, work, &at("file")), &["file"]);
    let mut without_work = Command::new(live::VELLUM);
    without_work
        .arg("mount")
        .arg("--lower")
        .arg(low)
        .arg("--upper")
        .arg(up)
        .arg(mnt);
    refused(&s, &mut without_work, &["work"]);
    let mut unknown = s.command(&["-o", "no_such_option=1"]);
    let out = unknown.output().unwrap();
    assert!(
        text(&out).contains("no_such_option"),
        "an unknown option is not told: {}",
        text(&out)
    );
}

#[test]
fn upper_and_work_on_different_file_systems_are_refused() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    let other = s.dir().join("other");
    fs::create_dir(&other).unwrap();
    run(Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&other));
    let work = other.join("work");
    fs::create_dir(&work).unwrap();
    let outcome = std::panic::catch_unwind(|| {
        let mut command = vellum(&s, &s.lowers[0], &s.upper, &work, &s.mnt);
        refused(&s, &mut command, &["work", "file system"]);
    });
    run(Command::new("umount").arg(&other));
    outcome.unwrap();
}

#[test]
fn an_upper_in_use_is_refused_to_a_second_mount() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    s.lower(0, "f", "data");
    let second = s.dir().join("second");
    fs::create_dir(&second).unwrap();
    s.mount(&[]);
    let out = vellum(&s, &s.lowers[0], &s.upper, &s.work, &second)
        .output()
        .unwrap();
    assert!(!out.status.success(), "two mounts on one upper");
    assert!(text(&out).contains("in use"), "{}", text(&out));
    assert_eq!(mounts_on(&second), 0);
    // the same upper with another work directory is as bad
    let work = s.dir().join("work2");
    fs::create_dir(&work).unwrap();
    let out = vellum(&s, &s.lowers[0], &s.upper, &work, &second)
        .output()
        .unwrap();
    assert!(
        !out.status.success(),
        "two mounts on one upper, by two work directories"
    );
    assert_eq!(mounts_on(&second), 0);
    assert_eq!(fs::read_to_string(s.mnt.join("f")).unwrap(), "data");
    s.umount();
    let out = vellum(&s, &s.lowers[0], &s.upper, &s.work, &second)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out));
    run(Command::new("umount").arg(&second));
}

/// What an unprivileged user does with a mount of his own; `$MOUNT` and `$UMOUNT` say how.
const ROOTLESS_LIFE: &str = r#"
    set -x
    cd "$1"
    mkdir -p low/d/sub up work mnt
    echo lower >low/d/f; echo gone >low/d/g; ln low/d/f low/d/hard
    ./vellum mount --lower low --upper up --work work "$PWD/mnt"
    cd mnt
    test "$(cat d/f)" = lower
    echo more >>d/f
    test "$(cat d/hard)" = "$(printf 'lower\nmore')"
    rm d/g
    mv d/sub d/moved
    mv d e
    mkdir d
    chmod 700 e/moved
    ln -s e/f link
    mkfifo fifo
    cd ..
    umount_it() { if [ "$2" = ns ]; then umount mnt; else fusermount3 -u mnt; fi; }
    umount_it "" "$2"
    # all of it is there again
    ./vellum mount --lower low --upper up --work work "$PWD/mnt"
    test "$(cd mnt && find . | sort | tr '\n' ' ')" = ". ./d ./e ./e/f ./e/hard ./e/moved ./fifo ./link "
    test "$(stat -c '%a %U' mnt/e/moved)" = "700 $(id -un)"
    test "$(cat mnt/e/hard)" = "$(printf 'lower\nmore')"
    umount_it "" "$2"
    test "$(cat low/d/f)" = lower
    test -e low/d/g
    # a layer that may not be read
    mkdir secret; chmod 000 secret
    if [ "$2" = plain ]; then
        if ./vellum mount --lower secret --upper up --work work "$PWD/mnt" 2>refusal; then exit 9; fi
        cat refusal >&2
        grep -q secret refusal
        grep -q 'Permission denied' refusal
    fi
    chmod 700 secret
    # nobody is left behind
    for i in $(seq 100); do
        pgrep -u "$(id -u)" -f "^./vellum mount .*$PWD/mnt" >pids || { echo fine; exit 0; }
        sleep 0.1
    done
    echo "left: $(cat pids)" >&2
    exit 8
"#;

/// Runs [`ROOTLESS_LIFE`] as user and group 65534 with a `/dev/fuse` that everybody may open, in
/// a mount namespace of its own: udev makes it so elsewhere, this machine may not have udev.
fn rootless(enter: &str, kind: &str) {
    let dir = tempfile::Builder::new().prefix("vellum").tempdir().unwrap();
    live::copy_program(&dir.path().join("vellum"));
    fs::write(dir.path().join("life.sh"), ROOTLESS_LIFE).unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    assert_eq!(fs::metadata(dir.path()).unwrap().uid(), 65534);
    let line = format!(
        r#"
        exec unshare --mount --propagation private sh -euc '
            dir=$1
            mkdir "$dir/dev"
            mount -t tmpfs tmpfs "$dir/dev"
            mknod -m 666 "$dir/dev/fuse" c 10 229
            mount --bind "$dir/dev/fuse" /dev/fuse
            umount -l "$dir/dev"
            exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                {enter} sh -euc "$(cat "$dir/life.sh")" sh "$dir" {kind}
        ' sh "$1"
        "#
    );
    let said = sh(&line, &[dir.path().as_os_str()]);
    assert_eq!(said, "fine\n");
}

#[test]
fn an_unprivileged_user_mounts_in_a_user_namespace() {
    if may_mount() {
        rootless("unshare --user --map-root-user --mount", "ns");
    }
}

#[test]
fn an_unprivileged_user_mounts_by_fusermount3() {
    if may_mount() {
        rootless("", "plain");
    }
}
