//! Pages of memory, some of which are in a file.

use super::Room;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Bytes in a page. It is what is read for a record that is in the file, so it is small.
pub(super) const PAGE: usize = 4096;

/// Fewer pages than this in memory would be no help.
const FEWEST: usize = 4;

/// A place of a page that was never written: it is all zeros.
const NOWHERE: u32 = u32::MAX;
/// Set in a place that is in the file; else it is the number of a frame.
const IN_FILE: u32 = 1 << 31;

/// Pages that share one limit. A clone is the same pages.
#[derive(Clone, Debug)]
pub struct Pages(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    room: Room,
    /// Most frames that there may be.
    most: usize,
    frames: Vec<Frame>,
    /// Frames that hold nothing.
    free: Vec<u32>,
    /// The frame that is looked at next when one has to go.
    hand: usize,
    /// Where each page of each list is.
    lists: Vec<Vec<u32>>,
    free_lists: Vec<u32>,
    file: Option<File>,
    /// Pages in the file, and which of them hold nothing.
    in_file: u32,
    free_in_file: Vec<u32>,
}

#[derive(Debug)]
struct Frame {
    data: Box<[u8; PAGE]>,
    list: u32,
    page: u32,
    /// Where in the file it was before.
    in_file: Option<u32>,
    /// What is in the file is not the same.
    changed: bool,
    /// Since the hand came by.
    used: bool,
}

impl Pages {
    /// No pages yet.
    pub fn new(room: Room) -> Pages {
        let most = (room.bytes / PAGE).max(FEWEST);
        Pages(Rc::new(RefCell::new(Inner {
            room,
            most,
            frames: Vec::new(),
            free: Vec::new(),
            hand: 0,
            lists: Vec::new(),
            free_lists: Vec::new(),
            file: None,
            in_file: 0,
            free_in_file: Vec::new(),
        })))
    }

    /// Their limit.
    pub fn room(&self) -> Room {
        self.0.borrow().room.clone()
    }

    /// True if some were written to the file.
    pub fn spilled(&self) -> bool {
        self.0.borrow().file.is_some()
    }

    /// A new list of pages.
    pub(super) fn list(&self) -> u32 {
        let mut inner = self.0.borrow_mut();
        match inner.free_lists.pop() {
            Some(list) => list,
            None => {
                inner.lists.push(Vec::new());
                (inner.lists.len() - 1) as u32
            }
        }
    }

    /// Gives back a list.
    pub(super) fn drop_list(&self, list: u32) {
        let mut inner = self.0.borrow_mut();
        let Some(pages) = inner.lists.get_mut(list as usize) else {
            return;
        };
        for place in std::mem::take(pages) {
            inner.give_back(place);
        }
        inner.free_lists.push(list);
    }

    /// Lets `read` see a page.
    pub(super) fn read<T>(
        &self,
        list: u32,
        page: usize,
        read: impl FnOnce(&[u8; PAGE]) -> T,
    ) -> Result<T> {
        let mut inner = self.0.borrow_mut();
        let frame = inner.frame(list, page)?;
        Ok(read(&frame.data))
    }

    /// Lets `write` change a page.
    pub(super) fn write<T>(
        &self,
        list: u32,
        page: usize,
        write: impl FnOnce(&mut [u8; PAGE]) -> T,
    ) -> Result<T> {
        let mut inner = self.0.borrow_mut();
        let frame = inner.frame(list, page)?;
        frame.changed = true;
        Ok(write(&mut frame.data))
    }
}

impl Inner {
    /// The frame with a page.
    #[inline]
    fn frame(&mut self, list: u32, page: usize) -> Result<&mut Frame> {
        let place = self
            .lists
            .get(list as usize)
            .and_then(|pages| pages.get(page).copied())
            .unwrap_or(NOWHERE);
        let at = match place & IN_FILE {
            0 => place as usize,
            _ => self.bring(list, page, place)?,
        };
        let frame = self.frames.get_mut(at).ok_or(Errno::EINVAL)?;
        frame.used = true;
        Ok(frame)
    }

    /// Brings a page into memory.
    #[cold]
    fn bring(&mut self, list: u32, page: usize, place: u32) -> Result<usize> {
        let number = u32::try_from(page).map_err(|_| Errno::EFBIG)?;
        let at = self.free_frame()?;
        let in_file = (place != NOWHERE).then_some(place & !IN_FILE);
        let filled = self.fill(at, in_file);
        if let Err(e) = filled {
            self.free.push(at as u32);
            return Err(e);
        }
        let frame = self.frames.get_mut(at).ok_or(Errno::EINVAL)?;
        frame.list = list;
        frame.page = number;
        frame.in_file = in_file;
        frame.changed = false;
        let pages = self.lists.get_mut(list as usize).ok_or(Errno::EINVAL)?;
        if pages.len() <= page {
            pages.resize(page + 1, NOWHERE);
        }
        pages[page] = at as u32;
        Ok(at)
    }

    fn fill(&mut self, at: usize, in_file: Option<u32>) -> Result<()> {
        let frame = self.frames.get_mut(at).ok_or(Errno::EINVAL)?;
        match (in_file, &self.file) {
            (Some(slot), Some(file)) => file
                .read_exact_at(&mut frame.data[..], u64::from(slot) * PAGE as u64)
                .context(|| self.room.what()),
            (Some(_), None) => Err(Error::new(Errno::EINVAL)),
            (None, _) => {
                frame.data.fill(0);
                Ok(())
            }
        }
    }

    /// A frame that holds nothing.
    fn free_frame(&mut self) -> Result<usize> {
        if let Some(at) = self.free.pop() {
            return Ok(at as usize);
        }
        if self.frames.len() < self.most || self.room.beyond.is_none() {
            if self.frames.len() >= IN_FILE as usize {
                return Err(Error::new(Errno::ENOMEM));
            }
            self.frames.push(Frame {
                data: Box::new([0; PAGE]),
                list: 0,
                page: 0,
                in_file: None,
                changed: false,
                used: false,
            });
            return Ok(self.frames.len() - 1);
        }
        // those that were used since the hand came by last get another round
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.frames.len();
            let frame = &mut self.frames[at];
            if !std::mem::take(&mut frame.used) {
                self.put_out(at)?;
                return Ok(at);
            }
        }
    }

    /// Moves the page that is in a frame to the file.
    fn put_out(&mut self, at: usize) -> Result<()> {
        let slot = match self.frames[at].in_file {
            Some(slot) => slot,
            None => self.slot()?,
        };
        if self.file.is_none() {
            self.file = self.room.file()?;
        }
        let frame = &mut self.frames[at];
        // one that was never written has to be, too: the file is where it will be looked for
        if frame.changed || frame.in_file.is_none() {
            let file = self.file.as_ref().ok_or(Errno::EINVAL)?;
            file.write_all_at(&frame.data[..], u64::from(slot) * PAGE as u64)
                .context(|| self.room.what())?;
        }
        frame.in_file = Some(slot);
        frame.changed = false;
        let (list, page) = (frame.list as usize, frame.page as usize);
        let place = self.lists.get_mut(list).and_then(|p| p.get_mut(page));
        *place.ok_or(Errno::EINVAL)? = slot | IN_FILE;
        Ok(())
    }

    fn slot(&mut self) -> Result<u32> {
        if let Some(slot) = self.free_in_file.pop() {
            return Ok(slot);
        }
        // the last one would be NOWHERE
        if self.in_file >= IN_FILE - 1 {
            return Err(Error::because(Errno::EFBIG, self.room.what()));
        }
        self.in_file += 1;
        Ok(self.in_file - 1)
    }

    fn give_back(&mut self, place: u32) {
        if place == NOWHERE {
            return;
        }
        if place & IN_FILE != 0 {
            self.free_in_file.push(place & !IN_FILE);
            return;
        }
        if let Some(frame) = self.frames.get_mut(place as usize) {
            self.free_in_file.extend(frame.in_file.take());
            frame.used = false;
            self.free.push(place);
        }
    }
}
