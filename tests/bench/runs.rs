//! Runs: every operation, peers that fail, peers that lie.

use super::helpers::*;
use super::live;

#[test]
fn every_operation_runs_on_every_peer_and_leaves_nothing() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let peers = ["plain", "overlayfs", "vellum-passthrough", "vellum-image"];
    let mut o = options(&s, &peers, &[]);
    o.rounds = 1;
    o.layers = vec![5];
    let report = run(&o).unwrap();
    let results = report.results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(results.broken_layers, Vec::<String>::new());
    assert_eq!(results.peers.len(), 4);
    for (m, metric) in results.metrics.iter().enumerate() {
        let depths = results.depths(m);
        assert!(
            depths == [5] || depths == [8],
            "{} at {depths:?}",
            metric.name
        );
        for p in 0..4 {
            let cell = &results.cells[&(m, depths[0], p)];
            let measured = cell.samples.len() == 1 && cell.samples.iter().all(|s| s.value > 0.0);
            // growth of so small a tree may be nothing
            assert!(
                measured || cell.skipped.is_some() || metric.name == "rss-growth",
                "{} {p}: {cell:?}",
                metric.name
            );
        }
    }
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn a_peer_that_cannot_mount_fails_and_the_others_go_on() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["find"]);
    o.extra_peers.push("broken=ls {mnt} /does/not/exist".into());
    let results = run(&o).unwrap().results;
    let text = vellum::bench::table::render(&results);
    assert!(results.has_failures());
    assert!(
        text.contains("FAILED") && text.contains("broken at 1: mount: "),
        "{text}"
    );
    assert!(
        text.contains("/does/not/exist"),
        "the peer's own words are missing: {text}"
    );
    let good = results
        .peers
        .iter()
        .position(|p| p.name == "overlayfs")
        .unwrap();
    assert_eq!(results.cells[&(0, 5, good)].samples.len(), 2);
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn a_peer_that_shows_something_else_fails() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["find", "lookup"]);
    o.layers = vec![5];
    o.rounds = 1;
    // a "union" that only has the upper: an empty tree, mounted fast
    o.extra_peers.push("liar=mount --bind {upper} {mnt}".into());
    let results = run(&o).unwrap().results;
    let all = failures(&results);
    assert!(
        all.iter()
            .any(|f| f.contains("find-cold 5 liar: it saw something else")),
        "{all:?}"
    );
    assert!(all.iter().all(|f| f.contains("liar")), "{all:?}");
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

/// Peers that know no whiteouts get the same tree without; one that cannot copy up has no part in changes.
#[test]
fn other_unions_show_the_same_tree() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let path = std::env::var_os("PATH").unwrap();
    let here = |name: &&str| std::env::split_paths(&path).any(|d| d.join(name).is_file());
    let peers: Vec<&str> = ["unionfs", "mergerfs"].into_iter().filter(here).collect();
    if peers.len() < 2 {
        return live::skip("unionfs-fuse or mergerfs is not installed");
    }
    let mut o = options(&s, &peers, &["find", "read", "unlink"]);
    (o.layers, o.rounds) = (vec![5], 1);
    let results = run(&o).unwrap().results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(results.broken_layers, Vec::<String>::new());
    let unlink = results
        .metrics
        .iter()
        .position(|m| m.name == "unlink")
        .unwrap();
    let cell = |peer: &str| {
        let at = results.peers.iter().position(|p| p.name == peer).unwrap();
        &results.cells[&(unlink, 5, at)]
    };
    assert_eq!(cell("unionfs").samples.len(), 1);
    let why = cell("mergerfs").skipped.as_ref().unwrap();
    assert!(why.contains("copies nothing up"), "{why}");
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn overlayfs_says_where_it_stops() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["stat"]);
    (o.layers, o.rounds) = (vec![500, 501], 1);
    let results = run(&o).unwrap().results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(results.cells[&(0, 500, 0)].samples.len(), 1);
    let why = results.cells[&(0, 501, 0)].skipped.as_ref().unwrap();
    assert!(why.contains("takes 500 layers"), "{why}");
    let text = vellum::bench::table::render(&results);
    assert!(
        text.contains("n/a: overlayfs: it takes 500 layers"),
        "{text}"
    );
}

#[test]
fn a_run_ends_when_its_time_is_over_and_says_so() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["stat"]);
    o.rounds = 1_000_000;
    o.max_time = Some(Duration::from_secs(3));
    let results = run(&o).unwrap().results;
    assert!(!results.interrupted && !results.has_failures());
    assert!(
        results.left_out.iter().any(|l| l.contains("--max-time")),
        "{:?}",
        results.left_out
    );
}

#[test]
fn a_real_tree_is_copied_and_not_changed() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let (mine, inner) = (s.dir("mine").unwrap(), s.dir("inner").unwrap());
    odd_tree(&mine);
    let before = fingerprint(&mine).unwrap();
    let mut o = options(&s, &["overlayfs"], &["rm", "copyup-small"]);
    o.tree = Some(RealTree::Dir(mine.clone()));
    o.scratch = inner;
    o.rounds = 1;
    let results = run(&o).unwrap().results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(before, fingerprint(&mine).unwrap());
}

/// What a worker cannot do is the failure of a row, told with the cause, and not the end of the run.
#[test]
fn a_worker_that_fails_says_why() {
    let s = scratch();
    let file = s.path().join("not-there");
    let job = Job::Map {
        file: file.clone(),
        random: None,
        passes: 1,
    };
    let vellum = Path::new(env!("CARGO_BIN_EXE_vellum"));
    let mut worker = Worker::start(vellum, &job).unwrap();
    worker.go().unwrap();
    let e = worker.answer().unwrap_err().to_string();
    assert!(
        e.contains("exit status: 1") && e.contains("not-there"),
        "{e}"
    );
    fs::write(&file, vec![7; 8192]).unwrap();
    let mut worker = Worker::start(vellum, &job).unwrap();
    worker.go().unwrap();
    let answers = worker.answer().unwrap();
    assert_eq!(answers[0].done.count, 8192);
}
