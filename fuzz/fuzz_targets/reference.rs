//! Names of images: no panic, and one that is accepted is read back from each of its forms.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vellum::image::reference::{IdPrefix, PATH_MAX, Reference, TAG_MAX};

/// A piece of a name.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// One of the words that mean something.
    Word(u8),
    /// Anything.
    Text(String),
}

const WORDS: [&str; 14] = [
    "docker.io/",
    "index.docker.io/",
    "library/",
    "localhost",
    "[::1]",
    ":5000",
    "/",
    ":",
    "@sha256:",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "__",
    "-",
    ".",
    "a",
];

fuzz_target!(|pieces: Vec<Piece>| {
    let text: String = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Word(n) => WORDS[usize::from(*n) % WORDS.len()],
            Piece::Text(text) => text,
        })
        .collect();
    if let Some(prefix) = IdPrefix::parse(&text) {
        assert!(!prefix.is_whole() || text.parse::<Reference>().is_err() || text.contains(':'));
    }
    match text.parse::<Reference>() {
        Ok(reference) => check(&reference),
        Err(e) => assert!(!e.reason().is_empty()),
    }
});

fn check(reference: &Reference) {
    assert!(!reference.host().is_empty());
    assert!((1..=PATH_MAX).contains(&reference.path().len()));
    assert!(reference.tag().is_none_or(|t| (1..=TAG_MAX).contains(&t.len())));
    assert_eq!(reference.to_string().parse().as_ref(), Ok(reference));
    let tagged = reference.clone().tagged();
    assert_eq!(tagged.to_string().parse().as_ref(), Ok(&tagged));
    // a short form of 64 hexadecimal digits would be an image ID
    let familiar = tagged.familiar();
    assert_eq!(familiar.parse().as_ref(), Ok(&tagged), "{familiar}");
}
