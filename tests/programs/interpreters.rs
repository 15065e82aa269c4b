//! Python and Node load thousands of small files: what they find is what they find in a plain root.

use crate::bed::{debian, in_plain_root};

/// Imports every module of some large packages; each by its name, where it came from and what is in it.
const PYTHON: &str = r#"PYTHONWARNINGS=ignore python3 - <<'END'
import hashlib, importlib, os, pkgutil, sys
import django.conf
django.conf.settings.configure(SECRET_KEY="k")
django.setup()
faults = []
for top in "django", "sympy", "json", "asyncio", "email", "xml", "multiprocessing", "urllib", "importlib":
    package = importlib.import_module(top)
    for module in pkgutil.walk_packages(package.__path__, top + ".", onerror=lambda n: None):
        if ".tests" in module.name or ".benchmarks" in module.name or module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except BaseException as e:
            faults.append((module.name, type(e).__name__))
files = [m for m in list(sys.modules.values()) if os.path.exists(getattr(m, "__file__", None) or "")]
for m in sorted(files, key=lambda m: m.__name__):
    print(m.__name__, m.__file__, getattr(m, "__cached__", None), hashlib.sha256(open(m.__file__, "rb").read()).hexdigest())
print(*sorted(faults), sep="\n")
import sympy
x = sympy.Symbol("x")
print(sympy.integrate(sympy.sin(x) ** 3 * x, x), sympy.factorint(2**64 + 1))
print("modules:", len(files))
END"#;

/// Loads what Debian has of modules; each file that was loaded, and what is in it.
const NODE: &str = r#"cd /usr/share/nodejs; node - <<'END'
const fs = require("fs"), path = require("path"), crypto = require("crypto");
process.emitWarning = () => {};
const faults = [];
const load = (name) => { try { require(name); } catch (e) { faults.push(name + " " + (e.code || e.name)); } };
for (const file of fs.readdirSync("lodash").sort())
    if (file.endsWith(".js")) load(path.resolve("lodash", file));
for (const name of ["express", "semver", "glob", "ws", "yargs", "tar", "debug", "async", "core-js", "es-abstract", "readable-stream", "npmlog", "minimatch"])
    load(path.resolve(name));
const walk = (dir) => { for (const e of fs.readdirSync(dir, {withFileTypes: true})) {
    const at = path.join(dir, e.name);
    if (e.isDirectory()) walk(at); else if (at.endsWith(".js")) load(at); } };
walk(path.resolve("core-js/internals")); walk(path.resolve("core-js/modules"));
const files = Object.keys(require.cache).sort();
for (const f of files) console.log(f, crypto.createHash("sha256").update(fs.readFileSync(f)).digest("hex"));
console.log(faults.join("\n"));
console.log("modules: " + files.length);
process.exit(0);
END"#;

/// The same from a container as from a plain root; so many files at least.
fn same_as_plain(line: &str, least: usize, modes: &[&str]) {
    let Some((bed, layers)) = debian() else {
        return;
    };
    let plain = in_plain_root(&bed, &layers, line);
    let count = plain.rsplit("modules: ").next().unwrap().trim_end();
    assert!(count.parse::<usize>().unwrap() >= least, "{plain}");
    for io in modes {
        let options = ["run", "--rm", "--io", io, "-e", "HOME=/root", "debian:1"];
        let got = bed.ok(&[&options[..], &["sh", "-euc", line]].concat());
        assert!(got == plain, "{io}: {}", first_difference(&got, &plain));
    }
    bed.nothing_is_left();
}

fn first_difference(got: &str, want: &str) -> String {
    let mut lines = got.lines().zip(want.lines());
    match lines.find(|(a, b)| a != b) {
        Some((got, want)) => format!("{got:?}\nin the place of {want:?}"),
        None => format!("{} bytes, and not {}", got.len(), want.len()),
    }
}

#[test]
fn python_imports_what_it_does_in_a_plain_root() {
    same_as_plain(PYTHON, 1500, &["cached"]);
}

#[test]
fn node_loads_what_it_does_in_a_plain_root() {
    same_as_plain(NODE, 1500, &["cached", "passthrough"]);
}
