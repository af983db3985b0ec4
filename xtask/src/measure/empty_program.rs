//! The smallest program that the kernel runs at a tracepoint, to compare others with.

use anyhow::{Context as _, Result};
use nix::libc;
use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `BPF_PROG_LOAD`, `BPF_RAW_TRACEPOINT_OPEN` and `BPF_PROG_TYPE_RAW_TRACEPOINT` of `include/uapi/linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const RAW_TRACEPOINT: u32 = 17;

/// `r0 = 0; exit`
const CODE: [u64; 2] = [0xb7, 0x95];

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    length: u32,
    code: *const u64,
    license: *const libc::c_char,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: *const libc::c_char,
    program: u32,
    padding: u32,
}

/// The program, attached until it is dropped.
pub(super) struct EmptyProgram {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyProgram {
    pub(super) const NAME: &str = "empty";

    /// Attaches it to `inet_sock_set_state`.
    pub(super) fn attach() -> Result<Self> {
        let mut name = [0; 16];
        name[..Self::NAME.len()].copy_from_slice(Self::NAME.as_bytes());
        let load = Load {
            kind: RAW_TRACEPOINT,
            length: 2,
            code: CODE.as_ptr(),
            license: c"GPL".as_ptr(),
            log: [0; 2],
            kernel_version: 0,
            flags: 0,
            name,
        };
        let program = bpf(PROG_LOAD, &load).context("cannot load an empty program")?;
        let open = Open {
            name: c"inet_sock_set_state".as_ptr(),
            program: u32::try_from(program.as_raw_fd())?,
            padding: 0,
        };
        let link = bpf(RAW_TRACEPOINT_OPEN, &open).context("cannot attach an empty program")?;
        Ok(Self {
            _program: program,
            _link: link,
        })
    }
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the attributes, whose pointers are valid for the call.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    match i32::try_from(descriptor) {
        // SAFETY: both commands return a new descriptor.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
