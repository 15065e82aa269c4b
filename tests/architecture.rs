//! Holds the code to `docs/architecture.md`: who may use whom, where unsafe code and foreign
//! crates may be named, how long a file may get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file under src, in lines.
const LONGEST: usize = 500;

/// Crates that only one module may name.
const FOREIGN: [(&str, &str); 2] = [("fuser", "fuse"), ("clap", "cli")];

/// The direction table: each module with those that it may use, in the document's order.
#[derive(Debug, Default)]
struct Table {
    order: Vec<String>,
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> + '_ {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

impl Table {
    /// Reads the table with the columns module, what it is, uses.
    fn parse(markdown: &str) -> Table {
        let mut table = Table::default();
        let rows = markdown
            .lines()
            .skip_while(|l| !l.starts_with("| module | what it is | uses |"))
            .skip(2)
            .take_while(|l| l.starts_with('|'));
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let module = quoted(cells[0])
                .next()
                .expect("a row begins with a `module`");
            table
                .uses
                .insert(module.clone(), quoted(cells[2]).collect());
            table.order.push(module);
        }
        table
    }

    /// A row may only name rows below it.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (i, module) in self.order.iter().enumerate() {
            for used in &self.uses[module] {
                if !self.order[i + 1..].contains(used) {
                    faults.push(format!(
                        "the table lets {module} use {used}, which is no row below it"
                    ));
                }
            }
        }
        faults
    }
}

/// A token that matters here.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Path,
    Mark(char),
}

/// Rust's text as words, `::` and single marks; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let b: Vec<char> = text.chars().collect();
    let at = |i: usize| b.get(i).copied().unwrap_or('\0');
    let (mut out, mut i) = (Vec::new(), 0);
    while i < b.len() {
        let c = b[i];
        if c == '/' && at(i + 1) == '/' {
            i = skip_while(&b, i, |c| c != '\n');
        } else if c == '/' && at(i + 1) == '*' {
            i = skip_block_comment(&b, i);
        } else if c == '"' {
            i = skip_string(&b, i + 1);
        } else if (c == 'r' || c == 'b') && raw_string(&b, i).is_some() {
            i = raw_string(&b, i).unwrap();
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // a character: 'x', '\n', '\'', '\u{1f}'; anything else is a lifetime
            i = if at(i + 1) == '\\' {
                skip_while(&b, i + 3, |c| c != '\'') + 1
            } else {
                i + 3
            };
        } else if c.is_alphanumeric() || c == '_' {
            let end = skip_while(&b, i, |c| c.is_alphanumeric() || c == '_');
            out.push(Token::Word(b[i..end].iter().collect()));
            i = end;
        } else if c == ':' && at(i + 1) == ':' {
            out.push(Token::Path);
            i += 2;
        } else {
            if !c.is_whitespace() {
                out.push(Token::Mark(c));
            }
            i += 1;
        }
    }
    out
}

fn skip_while(b: &[char], mut i: usize, go_on: impl Fn(char) -> bool) -> usize {
    while i < b.len() && go_on(b[i]) {
        i += 1;
    }
    i
}

fn skip_string(b: &[char], mut i: usize) -> usize {
    while i < b.len() && b[i] != '"' {
        i += if b[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn skip_block_comment(b: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i + 1 < b.len() {
        match (b[i], b[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            break;
        }
    }
    i
}

/// The end of a raw or byte string that begins at `i`, if one does.
fn raw_string(b: &[char], i: usize) -> Option<usize> {
    if i > 0 && (b[i - 1].is_alphanumeric() || b[i - 1] == '_') {
        return None;
    }
    let start = skip_while(b, i, |c| c == 'r' || c == 'b');
    let raw = b[i..start].contains(&'r');
    let open = if raw {
        skip_while(b, start, |c| c == '#')
    } else {
        start
    };
    if start - i > 2 || b.get(open) != Some(&'"') {
        return None;
    }
    if !raw {
        return Some(skip_string(b, open + 1));
    }
    let hashes = open - start;
    let mut end = open + 1;
    while end < b.len() {
        if b[end] == '"' && b[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(end)
}

/// The modules that a file names by `crate::`, by the crate's own name, or by climbing with
/// `super::` to a sibling.
fn used(tokens: &[Token], modules: &[String]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for i in 0..tokens.len() {
        let (Token::Word(root), Some(Token::Path)) = (&tokens[i], tokens.get(i + 1)) else {
            continue;
        };
        match root.as_str() {
            "crate" | "vellum" => out.extend(heads(&tokens[i + 2..])),
            "super" => out.extend(
                heads(&tokens[i + 2..])
                    .into_iter()
                    .filter(|w| modules.contains(w)),
            ),
            _ => {}
        }
    }
    out
}

/// The first words of a path or of each path in a group.
fn heads(tokens: &[Token]) -> Vec<String> {
    match tokens.first() {
        Some(Token::Word(w)) => vec![w.clone()],
        Some(Token::Mark('{')) => {
            let (mut out, mut depth, mut fresh) = (Vec::new(), 0, false);
            for token in tokens {
                match token {
                    Token::Mark('{') => depth += 1,
                    Token::Mark('}') => depth -= 1,
                    Token::Word(w) if fresh && depth == 1 => out.push(w.clone()),
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                fresh = depth == 1 && matches!(token, Token::Mark('{' | ','));
            }
            out
        }
        _ => Vec::new(),
    }
}

/// What is wrong with one file of module `module`.
fn file_faults(name: &str, module: &str, text: &str, table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    let tokens = tokens(text);
    let lines = text.lines().count();
    if lines > LONGEST {
        faults.push(format!("{name}: {lines} lines, {LONGEST} are allowed"));
    }
    let word = |w: &str| tokens.iter().any(|t| matches!(t, Token::Word(x) if x == w));
    if module != "sys" && word("unsafe") {
        faults.push(format!("{name}: `unsafe` outside src/sys"));
    }
    for (foreign, home) in FOREIGN {
        if module != home && word(foreign) {
            faults.push(format!(
                "{name}: names `{foreign}`, which is for src/{home} alone"
            ));
        }
    }
    if module == "lib" {
        return faults; // names every module, to declare it
    }
    let Some(allowed) = table.uses.get(module) else {
        faults.push(format!(
            "{name}: module {module} has no row in docs/architecture.md"
        ));
        return faults;
    };
    for target in used(&tokens, &table.order) {
        if target != module && !allowed.contains(&target) {
            faults.push(format!(
                "{name}: {module} -> {target} is not in docs/architecture.md"
            ));
        }
    }
    faults
}

/// Every Rust file under `dir`.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// The top-level module that a file belongs to: its directory under src, or its own name.
fn module_of(relative: &Path) -> String {
    let first = relative.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn the_code_keeps_to_the_direction_table() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = Table::parse(&std::fs::read_to_string(top.join("docs/architecture.md")).unwrap());
    assert!(
        table.order.len() >= 6,
        "docs/architecture.md has no direction table"
    );
    let mut faults = table.faults();
    let src = top.join("src");
    let files = sources(&src);
    assert!(files.len() > 20, "only {} files under src", files.len());
    for path in files {
        let relative = path.strip_prefix(&src).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = relative.display().to_string();
        faults.extend(file_faults(&name, &module_of(relative), &text, &table));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A table for the tests of the checker itself.
fn small_table() -> Table {
    Table::parse(
        "| module | what it is | uses |\n|---|---|---|\n\
         | `cli` | words | `fuse`, `vfs` |\n| `fuse` | adapter | `vfs` |\n\
         | `sys` | calls | |\n| `vfs` | words | |\n",
    )
}

fn faults_of(module: &str, text: &str) -> Vec<String> {
    file_faults("f.rs", module, text, &small_table())
}

#[test]
fn the_checker_finds_a_forbidden_edge_in_every_spelling() {
    for text in [
        "use crate::fuse::Io;",
        "pub use crate::{vfs::Error, fuse::{self, Io}};",
        "use crate::{\n    vfs::{Error, Kind},\n    fuse,\n};",
        "fn f() { crate::fuse::run(); }",
        "use super::fuse::Io;",
        "use super::super::fuse;",
        "use vellum::fuse;",
        "// a comment with a quote: \"\nuse crate::fuse;",
        "const Q: char = '\"'; use crate::fuse;",
        "const Q: char = '\\''; use crate::fuse;",
        "fn f<'a>(x: &'a str) -> &'a str { crate::fuse::g(x) }",
        "const S: &str = r#\"a \" b\"#; use crate::fuse;",
    ] {
        assert_eq!(
            faults_of("vfs", text),
            ["f.rs: vfs -> fuse is not in docs/architecture.md"],
            "in {text:?}"
        );
    }
}

#[test]
fn the_checker_lets_pass_what_is_allowed() {
    for (module, text) in [
        ("cli", "use crate::{fuse::Io, vfs::{Error, Kind}};"),
        ("fuse", "use crate::fuse::options;  use fuser::Session;"),
        ("cli", "use clap::Parser;"),
        (
            "vfs",
            "//! see [`crate::fuse`] and unsafe code\n/* use crate::cli; /* unsafe */ */",
        ),
        (
            "vfs",
            "const S: &str = \"use crate::fuse; \\\" unsafe\"; const R: &str = r\"crate::cli\";",
        ),
        (
            "vfs",
            "#![forbid(unsafe_code)]\nmod tests { use super::*; use super::name; }",
        ),
        ("sys", "fn f() { unsafe { g() } }"),
    ] {
        assert_eq!(faults_of(module, text), Vec::<String>::new(), "in {text:?}");
    }
}

#[test]
fn the_checker_finds_unsafe_foreign_crates_long_files_and_new_modules() {
    let one = |module: &str, text: &str, fault: &str| {
        assert_eq!(faults_of(module, text), [format!("f.rs: {fault}")]);
    };
    one(
        "vfs",
        "fn f() { unsafe { g() } }",
        "`unsafe` outside src/sys",
    );
    one(
        "vfs",
        "use fuser::Session;",
        "names `fuser`, which is for src/fuse alone",
    );
    one(
        "fuse",
        "#[derive(clap::Parser)] struct S;",
        "names `clap`, which is for src/cli alone",
    );
    one("vfs", &"\n".repeat(501), "501 lines, 500 are allowed");
    one(
        "image",
        "",
        "module image has no row in docs/architecture.md",
    );
}

#[test]
fn the_checker_finds_a_circle_in_the_table() {
    let table = Table::parse(
        "| module | what it is | uses |\n|---|---|---|\n| `a` | | `b` |\n| `b` | | `a` |\n",
    );
    assert_eq!(
        table.faults(),
        ["the table lets b use a, which is no row below it"]
    );
}
