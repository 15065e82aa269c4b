//! PostgreSQL: what it acknowledged is there, and its tables agree, whatever was killed while it wrote.

use crate::bed::{debian, folder};
use crate::live::{VELLUM, wait_for};
use crate::running::{Bed, LIMIT};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the database, if there is none, and serves it.
const SERVE: &str = "
    d=/var/lib/postgresql/data
    if [ ! -s $d/PG_VERSION ]; then
        initdb -D $d -A trust --data-checksums >/dev/null
        echo \"listen_addresses = ''\" >>$d/postgresql.conf
    fi
    exec postgres -D $d -k /tmp";

/// What must be true of pgbench's tables.
const SUMS: &str = "select sum(abalance) from pgbench_accounts;
    select sum(tbalance) from pgbench_tellers;
    select sum(bbalance) from pgbench_branches;
    select coalesce(sum(delta), 0) from pgbench_history;";

fn sql(bed: &Bed, query: &str) -> Vec<String> {
    let said = bed.ok(&[
        "exec", "db", "psql", "-h", "/tmp", "-At", "-c", query, "bench",
    ]);
    said.lines().map(str::to_owned).collect()
}

fn ready(bed: &Bed) {
    bed.soon("a database that answers", || {
        let out = bed.run(&["exec", "db", "pg_isready", "-q", "-h", "/tmp"]);
        out.status.success()
    });
}

/// Somebody who writes, one row at a time, and notes what was acknowledged.
struct Writer {
    client: Child,
    bench: Child,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    fn start(bed: &Bed, from: u64) -> Writer {
        let path = bed.at("rows.sql");
        let mut rows = File::create(&path).unwrap();
        for n in from + 1..from + 200_000 {
            writeln!(rows, "insert into rows values ({n}) returning n;").unwrap();
        }
        let bench = [
            "exec", "db", "pgbench", "-h", "/tmp", "-n", "-c", "4", "-T", "600", "bench",
        ];
        let bench = bed
            .command(&bench)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = ["exec", "-i", "db", "psql", "-h", "/tmp", "-qAt", "bench"];
        let mut client = bed
            .command(&client)
            .stdin(File::open(path).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = Arc::new(AtomicU64::new(from));
        let (seen, out) = (acknowledged.clone(), client.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // the last line may be cut
                match line.parse::<u64>() {
                    Ok(n) if n == seen.load(Ordering::Relaxed) + 1 => {
                        seen.store(n, Ordering::Relaxed);
                    }
                    _ => return,
                }
            }
        });
        Writer {
            client,
            bench,
            acknowledged,
        }
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The last that was acknowledged; who wrote is gone.
    fn end(mut self) -> u64 {
        for child in [&mut self.client, &mut self.bench] {
            assert!(
                wait_for(LIMIT, || child.try_wait().unwrap().is_some()),
                "a client of a dead database goes on"
            );
        }
        self.count()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.bench] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn pid(bed: &Bed) -> i32 {
    bed.ps("db").unwrap()["Pid"].as_i64().unwrap() as i32
}

fn kill_9(pids: &[i32]) {
    let pids = pids.iter().map(ToString::to_string);
    // some may have ended with others
    drop(Command::new("kill").arg("-9").args(pids).output().unwrap());
}

/// The process that serves the root file system.
fn server(bed: &Bed) -> i32 {
    let path = bed.at("store/vellum/uppers/db/state.json");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    state["server"]["pid"].as_i64().unwrap() as i32
}

#[test]
fn a_database_loses_nothing_whatever_is_killed() {
    let Some((bed, layers)) = debian() else {
        return;
    };
    let bin = folder(&layers, "/usr/lib/postgresql").join("bin");
    let path = format!("PATH={}:/usr/bin:/bin", bin.display());
    let options = [
        "run", "-d", "--name", "db", "-u", "postgres", "-e", &path, "-e", "LC_ALL=C",
    ];
    bed.ok(&[&options[..], &["debian:1", "sh", "-euc", SERVE]].concat());
    ready(&bed);
    bed.ok(&["exec", "db", "createdb", "-h", "/tmp", "bench"]);
    sql(&bed, "create table rows (n bigint primary key)");
    let init = ["pgbench", "-h", "/tmp", "-q", "-i", "-s", "1", "bench"];
    bed.ok(&[&["exec", "db"], &init[..]].concat());

    let mut last = 0;
    for what in ["the first process", "the root's server", "all there is"] {
        let history = sql(&bed, "select count(*) from pgbench_history")[0].clone();
        let writer = Writer::start(&bed, last);
        assert!(
            wait_for(LIMIT, || writer.count() > last + 200),
            "{what}: {} rows in time",
            writer.count() - last
        );
        match what {
            "the first process" => kill_9(&[pid(&bed)]),
            "the root's server" => {
                kill_9(&[server(&bed)]);
                // it may have ended by itself, without a disk
                drop(bed.run(&["kill", "db"]));
            }
            _ => kill_9(&[&[pid(&bed)], &bed.processes()[..]].concat()),
        }
        last = writer.end();
        bed.soon("the end", || {
            matches!(bed.state("db").as_str(), "exited" | "dead")
        });
        bed.ok(&["start", "db"]);
        ready(&bed);

        let found = sql(&bed, "select count(*), max(n) from rows");
        let (count, max) = found[0].split_once('|').unwrap();
        // one more may have been written whose acknowledgement did not arrive
        assert_eq!(count, max, "{what}: rows are missing");
        let max: u64 = max.parse().unwrap();
        assert!(
            max == last || max == last + 1,
            "{what}: {last} rows acknowledged, {max} there"
        );
        last = max;
        let sums = sql(&bed, SUMS);
        assert!(
            sums.len() == 4 && sums.iter().all(|s| *s == sums[0]),
            "{what}: {sums:?}"
        );
        let now = sql(&bed, "select count(*) from pgbench_history")[0].clone();
        let number = |text: &str| text.parse::<u64>().unwrap();
        assert!(
            number(&now) > number(&history),
            "{what}: pgbench did not write"
        );
    }
    // each page by its checksum, each index against its table
    let check = ["pg_amcheck", "-h", "/tmp", "--install-missing"];
    bed.ok(&[&["exec", "db"], &check[..], &["--heapallindexed", "bench"]].concat());
    bed.ok(&["stop", "db"]);
    assert_eq!(bed.ok(&["wait", "db"]), "0\n");
    let log = bed.run(&["logs", "db"]);
    let log = String::from_utf8_lossy(&log.stderr);
    assert_eq!(
        log.matches("automatic recovery in progress").count(),
        3,
        "{VELLUM}: {log}"
    );
    bed.ok(&["rm", "db"]);
    bed.nothing_is_left();
}
