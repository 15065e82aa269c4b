//! `vellum run`: what a container is given, seen from inside of it. A real image, by a real runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::skip;
use running::{Bed, find, may_run};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn what_the_image_says_is_done() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    assert_eq!(bed.ok(&["run", "--rm", "app:1"]), "the image says so\n");
    let line = "id -u; id -g; id -G; pwd; echo $HOME $COLOUR $SHAPE; cat file sub/deep; hostname";
    let said = bed.ok(&[
        "run",
        "--rm",
        "-e",
        "SHAPE=square",
        "--hostname",
        "h1",
        "app:1",
        line,
    ]);
    assert_eq!(
        said,
        "33\n34\n34 40\n/data\n/home/www blue square\nof the image\ndeep\nh1\n"
    );
    // its volume takes what is written; the layers above the image get nothing of it
    let kept = [
        "run",
        "--name",
        "v",
        "app:1",
        "echo new >/data/new; ls /data",
    ];
    assert_eq!(bed.ok(&kept), "file\nnew\nsub\n");
    assert!(!bed.ok(&["diff", "v"]).contains("/data/new"));
    let ps = bed.ps("v").unwrap();
    assert_eq!(
        (ps["State"].as_str(), ps["ExitCode"].as_u64()),
        (Some("exited"), Some(0))
    );
    // it is the container's: another one begins anew
    assert_eq!(bed.ok(&["start", "-a", "v"]), "file\nnew\nsub\n");
    assert_eq!(bed.ok(&["run", "--rm", "app:1", "ls /data"]), "file\nsub\n");
    let over = [
        "run",
        "--rm",
        "--entrypoint",
        "id",
        "-u",
        "0:web",
        "-w",
        "/",
        "app:1",
        "-g",
    ];
    assert_eq!(bed.ok(&over), "34\n");
    bed.ok(&["rm", "-v", "v"]);
    bed.nothing_is_left();
}

#[test]
fn exit_codes_are_dockers() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    for (args, code, said) in [
        (vec!["bb:1", "sh", "-c", "exit 3"], 3, ""),
        (vec!["bb:1", "false"], 1, ""),
        (
            vec!["bb:1", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"],
            137,
            "",
        ),
        (vec!["bb:1", "nope"], 127, "not found"),
        (vec!["bb:1", "/no/such"], 127, "no such file"),
        (vec!["bb:1", "/etc/passwd"], 126, "permission denied"),
        (vec!["bb:1", "/bin"], 126, "/bin"),
        (
            vec!["nothing:1", "true"],
            125,
            "no such image: nothing:1; 'vellum load' brings images",
        ),
        (vec!["bb:1"], 125, "no command"),
        (
            vec!["-u", "nobody", "bb:1", "true"],
            125,
            "unable to find user nobody",
        ),
        (
            vec!["-u", "www:none", "bb:1", "true"],
            125,
            "unable to find group none",
        ),
        (
            vec!["--runtime", "/no/runc", "bb:1", "true"],
            125,
            "no runtime \"/no/runc\"",
        ),
        (
            vec!["--network", "bridge", "bb:1", "true"],
            125,
            "'none' or 'host'",
        ),
        (
            vec!["-v", "na me:/x", "bb:1", "true"],
            125,
            "\"na me\" is no name for a volume",
        ),
        (
            vec![
                "--mount",
                "type=bind,source=/no/such,target=/x",
                "bb:1",
                "true",
            ],
            125,
            "/no/such",
        ),
        (vec!["-w", "data", "bb:1", "true"], 125, "no absolute path"),
        (
            vec!["--cap-add", "WHAT", "bb:1", "true"],
            125,
            "no capability \"WHAT\"",
        ),
        (vec!["-m", "x", "bb:1", "true"], 125, "a number is expected"),
        (
            vec!["--stop-signal", "WHAT", "bb:1", "true"],
            125,
            "no signal \"WHAT\"",
        ),
        (
            vec!["--platform", "linux/s390x", "bb:1", "true"],
            125,
            "not for linux/s390x",
        ),
        (
            vec!["--name", "a/b", "bb:1", "true"],
            125,
            "no name for a container",
        ),
        (vec!["-it", "bb:1", "true"], 125, "no terminal"),
        (vec!["--what", "bb:1", "true"], 125, "--what"),
        (vec![], 125, "IMAGE"),
    ] {
        let (_, err) = bed.code(&[&["run", "--rm"], args.as_slice()].concat(), code);
        assert!(err.contains(said), "{args:?}: {err}");
    }
    let (_, err) = {
        let mut command = bed.command(&["run", "--rm", "bb:1", "true"]);
        command.env("VELLUM_RUNTIME", "no-such-runtime");
        let out = command.output().unwrap();
        (
            assert_eq!(out.status.code(), Some(125)),
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    assert!(err.contains("no-such-runtime"), "{err}");
    bed.nothing_is_left();
}

#[test]
fn input_output_and_words_go_through_as_they_are() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let out = bed.run(&[
        "run",
        "--rm",
        "bb:1",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 5",
    ]);
    assert_eq!(
        (out.stdout.as_slice(), out.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(out.status.code(), Some(5));
    // options behind the image are the command's
    assert_eq!(
        bed.ok(&["run", "--rm", "bb:1", "echo", "--rm", "-it", "a  b"]),
        "--rm -it a  b\n"
    );
    // without -i there is nothing to read; with it, all of it, binary, and more than a pipe holds
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(bed.at("data"), &data).unwrap();
    for (options, wanted) in [
        (vec!["run", "--rm"], &[][..]),
        (vec!["run", "--rm", "-i"], &data[..]),
    ] {
        let mut command = bed.command(&[options.as_slice(), &["bb:1", "cat"]].concat());
        let out = command
            .stdin(fs::File::open(bed.at("data")).unwrap())
            .output()
            .unwrap();
        assert!(out.status.success() && out.stdout == wanted);
    }
    // who reads only some of the output ends nothing
    let line = "\"$1\" run --rm bb:1 sh -c 'seq 1 300000; echo all >&2' 2>said | head -1; cat said";
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-euc", line, "sh", live::VELLUM])
        .env("VELLUM_ROOT", bed.at("store"));
    assert_eq!(live::run(shell.current_dir(bed.at("."))), "1\nall\n");
    bed.nothing_is_left();
}

#[test]
fn a_container_sees_what_docker_shows() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let shown = |options: &[&str], line: &str| bed.sh(options, line);
    // only lo, and what some kernels put into every network namespace
    shown(
        &[],
        "grep -q lo: /proc/net/dev; ! grep -qE '^ *(e|w)' /proc/net/dev",
    );
    let host = fs::read_to_string("/proc/net/dev").unwrap();
    let own = shown(&["--network", "host"], "cat /proc/net/dev");
    assert_eq!(own.lines().count(), host.lines().count());
    assert_eq!(shown(&[], "echo $$; hostname | wc -c"), "1\n13\n");
    assert!(shown(&[], "cat /etc/hosts").contains("localhost"));
    // what is hidden, and what cannot be written
    assert_eq!(
        shown(
            &[],
            "for f in kcore keys timer_list; do cat /proc/$f || :; done 2>/dev/null | wc -c; ls /sys/firmware | wc -l"
        ),
        "0\n0\n"
    );
    bed.code(
        &[
            "run",
            "--rm",
            "bb:1",
            "sh",
            "-c",
            "echo 1 >/proc/sys/kernel/domainname",
        ],
        1,
    );
    for path in [
        "/dev/null",
        "/dev/pts/ptmx",
        "/dev/shm",
        "/dev/mqueue",
        "/dev/urandom",
    ] {
        shown(&[], &format!("test -e {path}"));
    }
    assert!(shown(&[], "mount | grep ' / '").contains("fuse.vellum"));
    // docker's capabilities, and its filter of system calls
    let caps = "grep -E 'Cap(Bnd|Eff)|Seccomp:' /proc/self/status | cut -f2";
    assert_eq!(shown(&[], caps), "00000000a80425fb\n00000000a80425fb\n2\n");
    assert_eq!(
        shown(&["-u", "www"], caps),
        "0000000000000000\n00000000a80425fb\n2\n"
    );
    assert_eq!(
        shown(&["--cap-drop", "all"], caps),
        "0000000000000000\n0000000000000000\n2\n"
    );
    let some = ["--cap-drop", "ALL", "--cap-add", "net_admin"];
    assert_eq!(
        shown(&some, caps),
        "0000000000001000\n0000000000001000\n2\n"
    );
    bed.code(
        &["run", "--rm", "bb:1", "mount", "-t", "tmpfs", "x", "/tmp"],
        1,
    );
    shown(
        &["--privileged"],
        "mount -t tmpfs x /tmp; test -c /dev/fuse; echo 1 >/dev/null; mount | grep ' /sys ' | grep -q rw",
    );
    bed.nothing_is_left();
}

#[test]
fn mounts_are_there_as_asked() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    fs::create_dir(bed.at("dir")).unwrap();
    fs::write(bed.at("dir/f"), "host\n").unwrap();
    let rw = format!("{}:/mnt/deep", bed.path("dir"));
    assert_eq!(
        bed.sh(&["-v", &rw], "cat /mnt/deep/f; echo new >/mnt/deep/new"),
        "host\n"
    );
    assert_eq!(fs::read_to_string(bed.at("dir/new")).unwrap(), "new\n");
    assert_eq!(bed.sh(&["-v", "./dir:/mnt"], "ls /mnt"), "f\nnew\n");
    let ro = format!("{rw}:ro");
    let long = format!(
        "type=bind,source={},target=/mnt/deep,readonly",
        bed.path("dir")
    );
    for options in [["-v", &ro], ["--mount", &long]] {
        let args = [
            &["run", "--rm"],
            &options[..],
            &["bb:1", "touch", "/mnt/deep/x"],
        ]
        .concat();
        let (_, err) = bed.code(&args, 1);
        assert!(err.contains("Read-only"), "{err}");
    }
    // one that is missing is made, as docker does
    let made = format!("{}:/x", bed.path("made"));
    bed.sh(&["-v", &made], "echo 1 >/x/f");
    assert!(bed.at("made/f").exists());
    let file = format!("{}:/etc/passwd:ro", bed.path("dir/f"));
    assert_eq!(bed.sh(&["-v", &file], "cat /etc/passwd"), "host\n");
    let memory = bed.sh(&["--tmpfs", "/t:size=1m,exec"], "mount | grep ' /t '");
    assert!(
        memory.contains("size=1024k") && !memory.contains("noexec"),
        "{memory}"
    );
    bed.sh(
        &["--mount", "type=tmpfs,target=/t,tmpfs-mode=1700"],
        "test $(stat -c %a /t) = 1700",
    );
    // a volume without a source begins with what the image has
    assert_eq!(
        bed.sh(
            &["-v", "/data"],
            "cat /data/file; stat -c %u:%g /data; mount | grep -c ' /data '"
        ),
        "of the image\n33:34\n1\n"
    );
    let read_only = ["--read-only", "--tmpfs", "/tmp"];
    assert_eq!(
        bed.sh(
            &read_only,
            "touch /tmp/x; ! touch /x 2>/dev/null; ! echo >/etc/passwd; echo done 2>&1"
        ),
        "done\n"
    );
    let kept = ["--upper", &bed.path("upper"), "--work", &bed.path("work")];
    fs::create_dir(bed.at("upper")).unwrap();
    fs::create_dir(bed.at("work")).unwrap();
    bed.sh(&kept, "echo kept >/kept");
    assert_eq!(fs::read_to_string(bed.at("upper/kept")).unwrap(), "kept\n");
    assert_eq!(bed.sh(&kept, "cat /kept"), "kept\n");
    let root = fs::metadata(bed.at("upper")).unwrap();
    assert_eq!(root.mode() & 0o777, 0o755);
    assert_eq!(
        bed.sh(&["--io", "passthrough"], "cat /data/file"),
        "of the image\n"
    );
    bed.nothing_is_left();
}

#[test]
fn environment_labels_and_limits() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    fs::write(bed.at("env"), "# comment\nA=1\nB=file\n\nFROM_HERE\n").unwrap();
    let args = [
        "run",
        "--rm",
        "--env-file",
        "env",
        "-e",
        "B=2",
        "-e",
        "FROM_HERE",
        "bb:1",
        "env",
    ];
    let out = bed.command(&args).env("FROM_HERE", "x y").output().unwrap();
    let env = String::from_utf8(out.stdout).unwrap();
    for line in ["A=1", "B=2", "FROM_HERE=x y", "HOME=/root"] {
        assert!(env.lines().any(|l| l == line), "{line}: {env}");
    }
    let limits = [
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
        "--ulimit",
        "nofile=64:128",
    ];
    let read = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us \
        pids/pids.max 2>/dev/null || cat memory.max cpu.max pids.max; ulimit -Sn; ulimit -Hn";
    let said = bed.sh(&limits, read);
    assert!(
        said.contains("67108864\n50000") && said.ends_with("\n20\n64\n128\n"),
        "{said}"
    );
    // fork after fork: the limit holds
    let many = "i=0; while [ $i -lt 40 ]; do sleep 9 & i=$((i+1)); done";
    bed.code(
        &[
            "run",
            "--rm",
            "--pids-limit",
            "10",
            "bb:1",
            "sh",
            "-ec",
            many,
        ],
        2,
    );
    bed.ok(&["run", "--name", "l", "-l", "a=b", "--label", "c", "app:1"]);
    let labels = &bed.ps("l").unwrap()["Labels"];
    assert_eq!(
        (labels["a"].as_str(), labels["c"].as_str()),
        (Some("b"), Some(""))
    );
    bed.ok(&["rm", "-v", "l"]);
    match find("catatonit").or_else(|| find("docker-init")) {
        None => skip("no catatonit; 'scripts/deps.sh test' installs it"),
        Some(_) => {
            // the init is 1, and leaves no trace in the container
            assert_eq!(bed.sh(&["--init"], "test $$ != 1; echo $?"), "0\n");
            bed.ok(&["run", "--init", "--name", "i", "bb:1", "true"]);
            let diff = bed.ok(&["diff", "i"]);
            assert!(!diff.contains("init"), "{diff}");
            bed.ok(&["rm", "i"]);
        }
    }
    bed.nothing_is_left();
}
