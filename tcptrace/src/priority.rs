//! Priorities of threads. Only the thread that drains the kernel's buffer runs before others, since a busy server's
//! threads would delay it until events are lost; its work is bounded.

/// The urgent thread's niceness (sched(7)).
const NICE: i32 = -10;

/// Makes the calling thread urgent. Where that is refused, the usual priority has to do. Threads that it starts inherit
/// it.
pub(crate) fn raise_priority() {
    // SAFETY: the call takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Makes the calling thread as urgent as any other, where it has inherited more.
pub(crate) fn be_usual() {
    // SAFETY: the calls take numbers only.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        }
    }
}
