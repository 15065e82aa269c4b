//! `docs/mount-options.md` and the table of options say the same.

use std::collections::BTreeSet;
use std::path::Path;
use vellum::cli::options::{Class, SECTIONS, find, markdown};
use vellum::cli::overlayfs::Invocation;

const BEGIN: &str = "<!-- the table: made from src/cli/options/table, see tests/options -->\n";
const END: &str = "<!-- end of the table -->\n";

/// To write the table anew: `VELLUM_BLESS=1 cargo test --test options`.
#[test]
fn the_document_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mount-options.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let want = format!("\n{}", markdown());
    if std::env::var_os("VELLUM_BLESS").is_some() {
        std::fs::write(&path, [before, BEGIN, &want, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(table, want);
}

/// The class of every option stands in its row, and no row is for an option that is not there.
#[test]
fn rows_and_options_are_the_same_set() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mount-options.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(BEGIN).unwrap();
    let (table, _) = rest.split_once(END).unwrap();
    let mut rows = BTreeSet::new();
    for row in table.lines().filter(|l| l.starts_with("| `")) {
        let (code, rest) = row["| `".len()..].split_once("` | ").unwrap();
        let name = code.split(['=', '[']).next().unwrap();
        let class = rest.split(' ').next().unwrap();
        assert!(
            rows.insert((name.to_owned(), class.to_owned())),
            "{name} twice"
        );
    }
    let options: BTreeSet<_> = SECTIONS
        .iter()
        .flat_map(|s| s.options)
        .map(|o| (o.name.to_owned(), o.class.name().to_owned()))
        .collect();
    assert_eq!(rows, options);
}

#[test]
fn every_option_is_found_by_its_name_and_only_once() {
    for opt in SECTIONS.iter().flat_map(|s| s.options) {
        let found = find(opt.name.as_bytes()).unwrap();
        assert_eq!(found.name, opt.name);
        let same = SECTIONS
            .iter()
            .flat_map(|s| s.options)
            .filter(|o| o.matches(opt.name.as_bytes()));
        assert_eq!(same.count(), 1, "{}", opt.name);
        assert!(!opt.about.is_empty());
    }
}

/// Where the text after `=` names the values, each is taken, or is the refused one that is named.
#[test]
fn values_in_the_table_are_taken() {
    let mut tried = 0;
    for opt in SECTIONS.iter().flat_map(|s| s.options) {
        if !matches!(opt.class, Class::Honoured(_)) || opt.value.chars().any(char::is_uppercase) {
            continue;
        }
        if opt.name == "remount" {
            // the one word that asks for no mount; what it takes is in remount.rs
            let got = crate::invoke(&["-o", opt.name, "/m"]);
            assert!(matches!(got, Ok(Invocation::Remount(_))), "{got:?}");
            continue;
        }
        let values = opt.value.trim_start_matches('[').trim_end_matches(']');
        for value in values.split(['|', '=']).filter(|v| !v.is_empty()) {
            let got = crate::with(&format!("{}={value}", opt.name));
            assert_eq!(got.warnings, [""; 0], "{}={value}", opt.name);
            tried += 1;
        }
        if !opt.value.starts_with('=') {
            assert_eq!(crate::with(opt.name).warnings, [""; 0], "{}", opt.name);
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried} tried");
}
