//! Zeroes, a word at a time: on this target the compiler's own `memset` is a loop over bytes.

use core::mem::MaybeUninit;

/// Fills `place` with zeroes.
///
/// # Safety
/// All-zero bytes must be a valid `T`.
#[inline(always)]
pub(crate) unsafe fn fill<T>(place: &mut MaybeUninit<T>) -> &mut T {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let words = place.as_mut_ptr().cast::<u64>();
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: inside `place`, and aligned; volatile, or LLVM makes the loop a `memset` again.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: by the caller's promise.
    unsafe { place.assume_init_mut() }
}
