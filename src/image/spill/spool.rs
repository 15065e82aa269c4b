//! What is written once, and then read from the beginning.

use super::Room;
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is read and written at once, where there is a file.
const CHUNK: usize = 256 << 10;

/// Bytes in the order that they come.
#[derive(Debug)]
pub struct Spool {
    room: Room,
    /// Most bytes before there is a file.
    most: usize,
    /// All of them, or those that are not in the file yet.
    held: Vec<u8>,
    file: Option<File>,
    in_file: u64,
}

impl Spool {
    /// None; the room is shared by `parts` of equal size.
    pub fn new(room: &Room, parts: usize) -> Spool {
        Spool {
            room: room.clone(),
            most: room.part(parts),
            held: Vec::new(),
            file: None,
            in_file: 0,
        }
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.held.extend_from_slice(bytes);
        let most = match self.file {
            Some(_) => CHUNK.min(self.most),
            None => self.most,
        };
        match self.held.len() > most {
            true => self.put_out(),
            false => Ok(()),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.in_file + self.held.len() as u64
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives all bytes to `each`, piece by piece.
    pub fn read(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut piece = Vec::new();
        let mut at = 0;
        while let Some(file) = &self.file
            && at < self.in_file
        {
            piece.resize((self.in_file - at).min(CHUNK as u64) as usize, 0);
            file.read_exact_at(&mut piece, at)
                .context(|| self.room.what())?;
            each(&piece)?;
            at += piece.len() as u64;
        }
        each(&self.held)
    }

    fn put_out(&mut self) -> Result<()> {
        if self.file.is_none() {
            self.file = self.room.file()?;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(&self.held, self.in_file)
            .context(|| self.room.what())?;
        self.in_file += self.held.len() as u64;
        self.held.clear();
        self.held.shrink_to(CHUNK);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let limited = Room::limited(10_000, dir.path());
        for room in [limited, Room::unlimited()] {
            let mut spool = Spool::new(&room, 4);
            let mut want = Vec::new();
            for i in 0..5000u32 {
                let bytes = i.to_le_bytes();
                spool.write(&bytes[..i as usize % 5]).unwrap();
                want.extend_from_slice(&bytes[..i as usize % 5]);
                assert_eq!(spool.len(), want.len() as u64);
            }
            for _ in 0..2 {
                let mut got = Vec::new();
                spool
                    .read(|piece| {
                        got.extend_from_slice(piece);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(got, want);
            }
        }
    }
}
