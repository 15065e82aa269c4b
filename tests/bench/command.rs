//! The command: what it writes, how it ends.

use super::helpers::*;
use super::live;

#[test]
fn ctrl_c_cleans_up_and_shows_what_there_is() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vellum"))
        .args([
            "bench",
            "--files",
            "300",
            "--rounds",
            "1000",
            "--ops",
            "find,create",
            "--quiet",
        ])
        .args([
            "--layers",
            "1,4",
            "--peers",
            "overlayfs,vellum",
            "--scratch",
        ])
        .arg(s.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // in the middle of things: something is mounted
    for _ in 0..6000 {
        if !mounts_beneath(s.path()).unwrap().is_empty() {
            break;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it mounted anything"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("interrupted"), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn an_image_of_the_store_can_be_the_tree() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let (mine, inner) = (s.dir("mine").unwrap(), s.dir("inner").unwrap());
    odd_tree(&mine);
    let root = s.path().join("store");
    let bin = env!("CARGO_BIN_EXE_vellum");
    let bench = |tree: &str| {
        let mut command = Command::new(bin);
        command
            .args(["bench", "--quiet", "--rounds", "1", "--layers", "3"])
            .args(["--peers", "overlayfs,vellum-image", "--ops", "find"])
            .args(["--tree", tree, "--root"])
            .arg(&root)
            .arg("--scratch")
            .arg(&inner);
        command.output().unwrap()
    };
    let none = bench("mine/tree:1");
    let text = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        !none.status.success() && text.contains("no image store"),
        "{text}"
    );
    let import = Command::new(bin)
        .args(["import", "--root"])
        .arg(&root)
        .arg(&mine)
        .arg("mine/tree:1")
        .output()
        .unwrap();
    assert!(import.status.success(), "{import:?}");
    let done = bench("mine/tree:1");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    let entries = Manifest::read(&mine).unwrap().entries.len();
    assert!(
        text.contains(&format!("3 layers: {entries} entries")),
        "{text}"
    );
    assert_eq!(left_behind(&Scratch::new(&inner).unwrap()).len(), 0);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
}

#[test]
fn a_layer_that_hides_files_is_no_tree() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let inner = s.dir("inner").unwrap();
    for how in ["device", "name", "attribute"] {
        let layer = s.dir(how).unwrap();
        tree::generate(&layer, 30, Shape::Usual, 7).unwrap();
        let usr = layer.join("usr");
        match how {
            "device" => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                let whiteout = usr.join("gone");
                mknodat(CWD, whiteout, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            }
            "name" => fs::write(usr.join(".wh.gone"), "").unwrap(),
            _ => {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(usr, "trusted.overlay.opaque", b"y", flags).unwrap();
            }
        }
        let mut bench = Command::new(env!("CARGO_BIN_EXE_vellum"));
        bench
            .args(["bench", "--quiet", "--rounds", "1", "--layers", "2"])
            .args(["--peers", "overlayfs", "--ops", "find", "--scratch"])
            .arg(&inner)
            .arg("--tree")
            .arg(&layer);
        let done = bench.output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{how}: {done:?}");
        assert!(
            text.contains("usr") && text.contains("hides files"),
            "{how}: {text}"
        );
    }
}

#[test]
fn the_results_are_json_with_raw_samples() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let out = s.path().join("out");
    let done = Command::new(env!("CARGO_BIN_EXE_vellum"))
        .args([
            "bench", "--files", "60", "--rounds", "3", "--ops", "find", "--quiet", "--seed", "9",
        ])
        .args(["--layers", "2", "--peers", "plain,overlayfs", "--scratch"])
        .arg(s.path())
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["options"]["seed"], 9);
    assert!(!json["machine"]["kernel"].as_str().unwrap().is_empty());
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 4, "two metrics of two peers");
    for r in results {
        assert_eq!(r["samples"].as_array().unwrap().len(), 3);
        assert_eq!(r["layers"], 2);
        assert!(r["summary"]["median"].as_f64().unwrap() > 0.0);
    }
    let table = fs::read(out.join("table.txt")).unwrap();
    assert_eq!(table, done.stdout);
}

fn vellum(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_vellum"))
        .arg("bench")
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_list_has_operations_and_peers() {
    let listed = vellum(&["--list", "--threads", "3"]);
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.status.success(), "{listed:?}");
    for name in [
        "lookup-cold",
        "large-rand-mmap-first",
        "copyup-stall",
        "processes-read-3",
        "vellum-image",
        "plain",
    ] {
        let there = text
            .lines()
            .any(|l| l.split_whitespace().next() == Some(name));
        assert!(there, "{name}: {text}");
    }
}

/// Two runs are compared by the program: a run is like itself, and a rival of half the speed is told.
#[test]
fn two_runs_are_compared() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["plain", "vellum-image"], &["stat", "create"]);
    (o.layers, o.rounds) = (vec![2], 5);
    let report = run(&o).unwrap();
    let document = Document::of(&report, &o);
    let write = |name: &str, document: &Document| {
        let dir = s.dir(name).unwrap();
        fs::write(dir.join("results.json"), document.render().unwrap()).unwrap();
        dir.to_str().unwrap().to_owned()
    };
    let mut slow = document.clone();
    let ours = |r: &&mut vellum::bench::document::Row| r.peer == "vellum-image";
    for row in slow.results.iter_mut().filter(ours) {
        for sample in &mut row.samples {
            sample.value /= 1000.0;
        }
    }
    let (a, b) = (write("a", &document), write("b", &slow));
    let same = vellum(&["compare", &a, &a]);
    let text = String::from_utf8_lossy(&same.stdout);
    assert!(same.status.success(), "{same:?}");
    assert!(
        text.contains("0 of 6 rows moved beyond the noise"),
        "{text}"
    );
    let worse = vellum(&["compare", &a, &b]);
    let text = String::from_utf8_lossy(&worse.stdout);
    assert_eq!(worse.status.code(), Some(1), "{worse:?}");
    assert!(
        text.contains("Worse:") && text.contains("vellum-image"),
        "{text}"
    );
    let better = vellum(&["compare", "--relative", "plain", "--format", "json", &b, &a]);
    assert!(better.status.success(), "{better:?}");
    let json: serde_json::Value = serde_json::from_slice(&better.stdout).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["verdict"] == "better"), "{json}");
    let wrong = vellum(&["compare", &a, "/dev/null"]);
    let text = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        text.contains("/dev/null") && text.contains("expected"),
        "{text}"
    );
}
