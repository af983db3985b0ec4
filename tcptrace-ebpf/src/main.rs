//! The kernel side of tcptrace: it reports facts in fixed-size records and interprets nothing.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's entry points take their context by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel passes small numbers in wide registers; a checked conversion would add a branch to each"
)]

mod config;
mod emit;
mod hooks;
mod network;
mod sock;
mod task;
mod zeroes;

// When checked and documented for the host, which unwinds, the standard library provides the panic handler.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the verifier rejects any program that could reach this.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Some helpers are offered to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
