//! How urgent threads are. The one that empties the kernel's buffer runs before others, since a busy server's threads
//! would keep it waiting until events are lost; it bounds what it does. No other thread does.

/// The urgent thread's niceness (sched(7)).
const NICE: i32 = -10;

/// Makes the calling thread urgent. Where that is refused, the usual priority has to do. Threads that it starts inherit
/// it.
pub fn be_urgent() {
    // SAFETY: the call takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Makes the calling thread as urgent as any other, where it has inherited more.
pub fn be_usual() {
    // SAFETY: the calls take numbers only.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        }
    }
}
