//! The order that the nodes of a tree have in its index.

use super::write::unfit;
use crate::image::spill::{Pages, Records, Sorter, beginning};
use crate::image::tree::{Text, Tree, kind};
use crate::vfs::Result;

/// Which node has which number.
pub(super) struct Order {
    /// The nodes in their order.
    nodes: Records<u32>,
    /// The other way round: numbers, and 1; 0 for what is in the tree no more.
    numbers: Records<u32>,
}

impl Order {
    /// Numbers what is in the tree, each directory before what is in it, and that by name.
    pub fn of(tree: &Tree, pages: &Pages, sorter: &mut Sorter) -> Result<Order> {
        if !tree.is_dir(Tree::ROOT)? {
            return Err(unfit("index: the root is no directory"));
        }
        let mut order = Order {
            nodes: Records::new(pages),
            numbers: Records::zeroed(pages, tree.nodes.len()),
        };
        let mut dirs = Records::new(pages);
        order.add(Tree::ROOT)?;
        dirs.push(&Tree::ROOT)?;
        let mut next = 0;
        while next < dirs.len() {
            for name in tree.in_dir(dirs.get(next)?) {
                let name = name?;
                sorter.push(beginning, [name.node, name.kind.into(), 0], |key| {
                    tree.strings.read(Text::numbered(name.text), key)
                })?;
            }
            sorter.drain(|item| {
                let [node, type_of, _] = item.rest;
                if order.add(node)? && type_of == u32::from(kind::DIR) {
                    dirs.push(&node)?;
                }
                Ok(())
            })?;
            next += 1;
        }
        Ok(order)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.nodes.len()
    }

    /// The node with this number.
    pub fn node(&self, number: u32) -> Result<u32> {
        self.nodes.get(number)
    }

    /// The number of a node.
    pub fn number(&self, node: u32) -> Result<u32> {
        let number = self.numbers.get(node)?.checked_sub(1);
        number.ok_or_else(|| unfit("a node that is not in the tree"))
    }

    /// Gives a node the next number; false if it has one.
    fn add(&mut self, node: u32) -> Result<bool> {
        if self.numbers.get(node)? != 0 {
            return Ok(false);
        }
        let number = self.nodes.push(&node)?;
        self.numbers.set(node, &(number + 1))?;
        Ok(true)
    }
}
