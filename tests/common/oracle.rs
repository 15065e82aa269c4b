//! Doing the same to a subject and to a plain directory, and comparing all of it each time.

use super::op::Op;
use super::subject::Subject;
use super::tree::{Inos, View, diff};

/// The comparison of one case.
pub struct Oracle<'a> {
    pub plain: &'a mut dyn Subject,
    pub view: View,
    /// Inode numbers are compared over time.
    pub inos: Option<Inos>,
    /// The subject may refuse a rename with EXDEV, if it then changes nothing.
    pub exdev: bool,
}

impl<'a> Oracle<'a> {
    pub fn new(plain: &'a mut dyn Subject, view: View) -> Oracle<'a> {
        Oracle {
            plain,
            view,
            inos: Some(Inos::default()),
            exdev: false,
        }
    }

    /// Compares the trees.
    pub fn compare(&mut self, subject: &mut dyn Subject, when: &str) -> Result<(), String> {
        let (a, b) = (subject.tree(), self.plain.tree());
        if let Some(diff) = diff(&a, &b, &self.view) {
            return Err(format!("{when}:\n{diff}"));
        }
        if let Some(moved) = self.inos.as_mut().and_then(|i| i.check(&a, &b)) {
            return Err(format!("{when}:\n{moved}"));
        }
        Ok(())
    }

    /// Does one operation to both.
    pub fn step(&mut self, subject: &mut dyn Subject, op: &Op) -> Result<(), String> {
        let a = op.apply(subject, &self.view);
        if self.exdev && matches!(op, Op::Rename { .. }) && a == Err(libc::EXDEV) {
            return self.compare(subject, &format!("after {op:?}, refused"));
        }
        let b = op.apply(self.plain, &self.view);
        if a != b {
            return Err(format!("{op:?}: subject {a:?}, expected {b:?}"));
        }
        if let (Op::ListAcross { .. }, Some(inos)) = (op, &mut self.inos) {
            *inos = Inos::default(); // it removes and creates: the plain directory reuses numbers
        }
        self.compare(subject, &format!("after {op:?} ({a:?})"))
    }

    /// Does all operations to both, and compares after each.
    pub fn run(&mut self, subject: &mut dyn Subject, ops: &[Op]) -> Result<(), String> {
        self.compare(subject, "at the start")?;
        for (i, op) in ops.iter().enumerate() {
            self.step(subject, op)
                .map_err(|e| format!("step {i} of {}, {e}", ops.len()))?;
        }
        Ok(())
    }

    /// Lets go of everything that is held open, in both.
    pub fn release(&mut self, subject: &mut dyn Subject) {
        for slot in 0..super::op::SLOTS {
            let (a, b) = (subject.release(slot), self.plain.release(slot));
            assert_eq!(a, b, "release of slot {slot}");
        }
    }
}
