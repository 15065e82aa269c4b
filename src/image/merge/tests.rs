//! Layers as lines of text, and the tree that comes of them.

use super::super::index::{self, Index};
use super::super::table::TableWriter;
use super::super::tree::{Data, Place, Text};
use super::*;
use std::io::Cursor;

fn path(text: &str) -> Path {
    let names = text.split('/').filter(|n| !n.is_empty());
    names.map(|n| n.as_bytes().into()).collect()
}

/// A layer from lines: `d PATH PERM`, `f PATH SIZE`, `s PATH TARGET`, `l PATH TARGET`,
/// `w PATH`, `o PATH`.
fn layer(lines: &[&str]) -> Table<Cursor<Vec<u8>>> {
    let mut table = TableWriter::new(Vec::new()).unwrap();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let argument = words.get(2).copied().unwrap_or_default();
        let mut content = Content::Empty;
        let item = match words[0] {
            "d" => Item::Dir(Meta {
                perm: u32::from_str_radix(argument, 8).unwrap(),
                ..Meta::default()
            }),
            "f" => {
                content = Content::Packed {
                    layer: 77,
                    offset: 5,
                };
                Item::File(Meta::default(), argument.parse().unwrap())
            }
            "s" => Item::Symlink(Meta::default(), argument.as_bytes().into()),
            "l" => Item::Hardlink(path(argument)),
            "w" => Item::Whiteout,
            "o" => Item::Opaque,
            other => panic!("{other}"),
        };
        let entry = Entry {
            path: path(words[1]),
            item,
        };
        table.add(&Row { entry, content }).unwrap();
    }
    Table::open(Cursor::new(table.finish().unwrap())).unwrap()
}

fn tree_in(room: Room, layers: &[&[&str]]) -> Result<Tree> {
    let mut merge = Merge::within(room)?;
    for (i, lines) in layers.iter().enumerate() {
        merge.add(Digest::of(&[i as u8]), &mut layer(lines))?;
    }
    Ok(merge.finish())
}

/// The tree; in memory, and in next to none of it, the same.
fn tree(layers: &[&[&str]]) -> Result<Tree> {
    let dir = tempfile::tempdir().unwrap();
    let spilled = tree_in(Room::limited(0, dir.path()), layers);
    let tree = tree_in(Room::unlimited(), layers);
    match (&tree, &spilled) {
        (Ok(tree), Ok(spilled)) => {
            assert!(spilled.spilled() && !tree.spilled());
            assert!(index_of(tree) == index_of(spilled));
        }
        (Err(one), Err(other)) => assert_eq!(one.reason(), other.reason()),
        other => panic!("{other:?}"),
    }
    tree
}

/// Every path with what is there: `PERM` of a directory, `SIZE@LAYER#NAMES` of a file,
/// `>TARGET` of a symlink.
fn dump(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    let mut dirs = vec![(String::new(), Tree::ROOT)];
    while let Some((at, number)) = dirs.pop() {
        for entry in tree.children(number) {
            let (name, child) = entry.unwrap();
            let path = format!("{at}/{}", String::from_utf8_lossy(&name));
            let node = tree.nodes.get(child).unwrap();
            let names: Vec<_> = tree.names_of(&node).map(Result::unwrap).collect();
            let known = |own: &super::super::tree::Name| {
                own.dir == number && tree.strings.get(Text::numbered(own.text)).unwrap() == name
            };
            assert!(names.iter().any(known), "{path}");
            out.push(match node.data().unwrap() {
                Data::Dir => {
                    dirs.push((path.clone(), child));
                    format!("{path} {:o}", node.perm)
                }
                Data::File { size, place } => {
                    let Place::Packed { layer, offset: 5 } = place else {
                        panic!("{path}: {place:?}");
                    };
                    format!("{path} {size}@{layer}#{}", names.len())
                }
                Data::Symlink(target) => {
                    let target = tree.strings.get(target).unwrap();
                    format!("{path} >{}", String::from_utf8_lossy(&target))
                }
                other => panic!("{other:?}"),
            });
        }
    }
    out.sort();
    out
}

fn index_of(tree: &Tree) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    index::write(tree, &mut out).unwrap();
    out.into_inner()
}

fn inodes(tree: &Tree) -> u32 {
    Index::new(&index_of(tree)[..]).unwrap().inodes()
}

#[track_caller]
fn becomes(layers: &[&[&str]], want: &[&str]) {
    assert_eq!(dump(&tree(layers).unwrap()), want);
}

#[track_caller]
fn refused(layers: &[&[&str]], why: &str) {
    let said = tree(layers).unwrap_err().reason().to_owned();
    assert!(said.contains(why), "{said}");
}

#[test]
fn directories_are_merged_and_the_topmost_describes_them() {
    becomes(
        &[
            &["d a 700", "f a/x 1", "f a/y 2"],
            &["d a 755", "f a/y 3", "f a/z 4"],
        ],
        &["/a 755", "/a/x 1@0#1", "/a/y 3@1#1", "/a/z 4@1#1"],
    );
}

#[test]
fn a_missing_directory_is_made_and_one_below_keeps_its_attributes() {
    becomes(&[&["f a/b/x 1"]], &["/a 755", "/a/b 755", "/a/b/x 1@0#1"]);
    becomes(&[&["d a 700"], &["f a/x 1"]], &["/a 700", "/a/x 1@1#1"]);
    becomes(&[&["f a/x 1", "d a 711"]], &["/a 711", "/a/x 1@0#1"]);
}

#[test]
fn whiteouts_hide_what_is_below_in_whatever_order_they_come() {
    let below: &[&str] = &["d a 755", "f a/x 1", "f b 2"];
    becomes(&[below, &["w a", "w b"]], &[]);
    becomes(
        &[below, &["f a/y 3", "w a"]],
        &["/a 755", "/a/y 3@1#1", "/b 2@0#1"],
    );
    becomes(
        &[below, &["w a", "d a 700"], &["w nothing"]],
        &["/a 700", "/b 2@0#1"],
    );
}

#[test]
fn an_opaque_directory_shows_its_own_layer_only() {
    let below: &[&str] = &["d a 755", "f a/x 1", "f a/d/y 2"];
    let orders: [&[&str]; 2] = [
        &["d a 700", "o a", "f a/z 3"],
        &["f a/z 3", "d a 700", "o a"],
    ];
    for above in orders {
        becomes(&[below, above], &["/a 700", "/a/z 3@1#1"]);
    }
}

#[test]
fn another_type_replaces_what_was_there() {
    becomes(
        &[&["d a 755", "f a/x 1", "f b 2"], &["f a 3", "d b 700"]],
        &["/a 3@1#1", "/b 700"],
    );
    // as in a stack of directories: what lies in `lib` is in a directory of that name
    becomes(
        &[&["f usr/x 1", "s lib usr"], &["f lib/y 2"]],
        &["/lib 755", "/lib/y 2@1#1", "/usr 755", "/usr/x 1@0#1"],
    );
}

#[test]
fn links_are_one_file_also_across_layers() {
    becomes(
        &[&["f x 1", "l y x", "l d/z y"], &["l w d/z"]],
        &["/d 755", "/d/z 1@0#4", "/w 1@0#4", "/x 1@0#4", "/y 1@0#4"],
    );
    // one name is replaced, one hidden, one linked to itself
    becomes(
        &[&["f x 1", "l y x", "l z x"], &["f x 2", "w y", "l z z"]],
        &["/x 2@1#1", "/z 1@0#1"],
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(&[&["l x y"]], "entry /x: link to /y, which is not there");
    refused(&[&["d d 755", "l x d"]], "link to /d, a directory");
    refused(
        &[&["f a 1", "f a/x 2"]],
        "no directory, the same layer says",
    );
    refused(&[&["f a/x 1", "f a 2"]], "something in a directory there");
    refused(&[&["f / 1"]], "the root is a directory");
}

#[test]
fn a_very_deep_tree_is_no_problem() {
    let deep = "d/".repeat(20_000) + "x";
    let made = tree(&[&[&format!("f {deep} 1")], &["w d"]]).unwrap();
    assert_eq!(inodes(&made), 1);
    let made = tree(&[&[&format!("f {deep} 1")]]).unwrap();
    assert_eq!(inodes(&made), 20_002);
}

#[test]
fn the_same_layers_make_the_same_tree() {
    let layers: &[&[&str]] = &[&["f b/x 1", "l a/y b/x", "d c 700"], &["w c", "f z 2"]];
    let index = || index_of(&tree(layers).unwrap());
    assert_eq!(index(), index());
}
