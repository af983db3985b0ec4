//! The return value of a traced function: the word after its arguments, whose number depends on the kernel.
//! (`bpf_get_func_ret` needs Linux 5.17.)

use aya_ebpf::programs::FExitContext;

/// The return value of a function that takes `count()` arguments, two to six.
#[inline(always)]
pub(crate) fn returned(ctx: &FExitContext, count: impl Fn() -> u8) -> u64 {
    // The verifier knows the count, and forbids an index that is computed. Asking for it anew each time keeps LLVM
    // from merging the loads into one.
    let mut value = 0;
    if count() == 2 {
        value = ctx.arg(2);
    }
    if count() == 3 {
        value = ctx.arg(3);
    }
    if count() == 4 {
        value = ctx.arg(4);
    }
    if count() == 5 {
        value = ctx.arg(5);
    }
    if count() == 6 {
        value = ctx.arg(6);
    }
    value
}
