//! How far the kernel and the reader of a ring buffer are. A program that is interrupted between reserving a record and
//! submitting it holds back all records after its own, so that a buffer from which nothing comes is not yet empty.

use memmap2::{MmapOptions, MmapRaw};
use nix::unistd::{SysconfVar, sysconf};
use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The first two pages of a ring buffer: where its reader is, and where the kernel is (`kernel/bpf/ringbuf.c`).
#[derive(Debug)]
pub(super) struct Positions {
    pages: MmapRaw,
    page: usize,
}

impl Positions {
    /// Of the ring buffer `map`.
    pub(super) fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok());
        let page = page.ok_or_else(|| io::Error::other("the page size is unknown"))?;
        let pages = MmapOptions::new().len(2 * page).map_raw_read_only(&map)?;
        Ok(Self { pages, page })
    }

    /// The end of the last record that is reserved.
    pub(super) fn reserved(&self) -> usize {
        self.at(self.page)
    }

    /// Bytes of the records that are reserved and not yet read.
    pub(super) fn unread(&self) -> usize {
        self.reserved().wrapping_sub(self.at(0))
    }

    /// Whether all records before `end` have been read.
    pub(super) fn are_read_to(&self, end: usize) -> bool {
        // Positions wrap around, and are never further apart than the buffer is large.
        self.at(0).wrapping_sub(end).cast_signed() >= 0
    }

    #[expect(clippy::cast_ptr_alignment, reason = "pages are aligned to more than a word")]
    fn at(&self, offset: usize) -> usize {
        // SAFETY: the offset is the start of one of the two mapped pages, where the kernel keeps an aligned word that
        // it and the reader change atomically.
        unsafe { &*self.pages.as_ptr().add(offset).cast::<AtomicUsize>() }.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        os::{fd::AsFd as _, unix::fs::FileExt as _},
    };

    fn position(file: &File, offset: u64, value: usize) {
        file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
    }

    #[test]
    fn a_record_that_is_reserved_is_waited_for() {
        let file = tempfile::tempfile().unwrap();
        let page = sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap().cast_unsigned();
        file.set_len(2 * page).unwrap();
        let positions = Positions::of(file.as_fd()).unwrap();
        position(&file, page, 96);
        let end = positions.reserved();
        assert_eq!(end, 96);
        for (read, is_all) in [(0, false), (48, false), (96, true), (144, true)] {
            position(&file, 0, read);
            assert_eq!(positions.are_read_to(end), is_all, "{read}");
        }
        position(&file, page, 8);
        position(&file, 0, usize::MAX - 7);
        assert!(!positions.are_read_to(positions.reserved()));
        assert_ne!(positions.unread(), 0);
    }
}
