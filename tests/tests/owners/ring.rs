//! Accepts by io_uring, into a descriptor and into a direct descriptor, which only the ring has.

use io_uring::{IoUring, opcode, squeue::Entry, types};
use std::{io, os::fd::RawFd, ptr};

/// A ring with a table of direct descriptors.
pub(crate) fn new() -> io::Result<IoUring> {
    let ring = IoUring::new(4)?;
    ring.submitter().register_files_sparse(4)?;
    Ok(ring)
}

/// Accepts a connection and returns its descriptor.
pub(crate) fn accept(ring: &mut IoUring, listener: RawFd) -> io::Result<i32> {
    let entry = opcode::Accept::new(types::Fd(listener), ptr::null_mut(), ptr::null_mut())
        .flags(libc::SOCK_CLOEXEC)
        .build();
    wait_for(ring, &entry)
}

/// Accepts a connection into a direct descriptor, and returns its slot.
pub(crate) fn accept_direct(ring: &mut IoUring, listener: RawFd) -> io::Result<i32> {
    let entry = opcode::Accept::new(types::Fd(listener), ptr::null_mut(), ptr::null_mut())
        .file_index(Some(types::DestinationSlot::auto_target()))
        .build();
    wait_for(ring, &entry)
}

/// Closes the direct descriptor in a slot.
pub(crate) fn close_direct(ring: &mut IoUring, slot: u32) -> io::Result<i32> {
    wait_for(ring, &opcode::Close::new(types::Fixed(slot)).build())
}

fn wait_for(ring: &mut IoUring, entry: &Entry) -> io::Result<i32> {
    // SAFETY: no entry here points to memory.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map(|done| done.result());
    match result.ok_or_else(|| io::Error::other("nothing was completed"))? {
        error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
        number => Ok(number),
    }
}
