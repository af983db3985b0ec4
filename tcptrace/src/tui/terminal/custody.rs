//! The settings that the terminal had before it was taken over, and how it gets them back: from anywhere, signal handlers
//! included.

use nix::errno::Errno;
use std::{
    io,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

/// Mouse modes off, the screen of its own left, the cursor shown: what crossterm's `DisableMouseCapture`,
/// `LeaveAlternateScreen` and `Show` write.
const FAREWELL: &[u8] = b"\x1b[?1006l\x1b[?1015l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?1049l\x1b[?25h";

/// A terminal that takes nothing for so long, as behind a connection that hangs, is left as it is.
const PATIENCE_MS: libc::c_int = 500;

/// Signals that end this process for what it did itself. Those that others send to end it are waited for elsewhere.
const FATAL: [libc::c_int; 6] = [
    libc::SIGABRT,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGXCPU,
];

/// The settings as they were; null while the terminal is not ours. Never freed, since a signal handler may be reading
/// them: 60 bytes for each time that the user suspends us.
static BEFORE: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());

/// Keys come without echo, lines and signals from now on. Where the terminal was not given back in between, as by a
/// SIGSTOP, the settings from before stay the ones to go back to.
pub(super) fn take() -> io::Result<()> {
    let mut before = BEFORE.load(Ordering::Acquire);
    if before.is_null() {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the pointer is to one termios, which is filled where the call succeeds.
        let settings = unsafe {
            Errno::result(libc::tcgetattr(keyboard(), settings.as_mut_ptr()))?;
            settings.assume_init()
        };
        before = Box::into_raw(Box::new(settings));
    }
    // SAFETY: what is in BEFORE is never freed and never changed.
    let mut raw = unsafe { *before };
    // SAFETY: both calls take a termios that outlives them.
    unsafe {
        libc::cfmakeraw(&raw mut raw);
        Errno::result(libc::tcsetattr(keyboard(), libc::TCSANOW, &raw const raw))?;
    }
    BEFORE.store(before, Ordering::Release);
    Ok(())
}

/// Gives the terminal back, once. Of one that is gone there is nothing to give back, so failures are nobody's concern.
pub(super) fn give_back() {
    let before = BEFORE.swap(ptr::null_mut(), Ordering::AcqRel);
    if before.is_null() {
        return;
    }
    let mut output = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: all three are safe in signal handlers (signal-safety(7)); the pointers are to what outlives the calls, and
    // what was in BEFORE is never freed.
    unsafe {
        if libc::poll(&raw mut output, 1, PATIENCE_MS) == 1 {
            libc::write(libc::STDOUT_FILENO, FAREWELL.as_ptr().cast(), FAREWELL.len());
        }
        libc::tcsetattr(keyboard(), libc::TCSANOW, before);
    }
}

/// From now on such a signal gives the terminal back before it ends the process.
pub(super) fn outlive_fatal_signals() {
    for number in FATAL {
        // SAFETY: zeros are an action without flags and with an empty mask; the handler calls only what is safe in one.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as extern "C" fn(libc::c_int) as libc::sighandler_t;
            // Rust's own handler of a stack that is used up aborts on the stack for signals.
            action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(number, &raw const action, ptr::null_mut());
        }
    }
}

/// The signal is blocked meanwhile, and its action is the default one again: it ends the process on return.
extern "C" fn handler(number: libc::c_int) {
    give_back();
    // SAFETY: it takes a number, and is safe here (signal-safety(7)).
    unsafe { libc::raise(number) };
}

/// Whose settings are changed: the terminal that keys come from.
fn keyboard() -> libc::c_int {
    // SAFETY: it takes a number, and is one ioctl.
    if unsafe { libc::isatty(libc::STDIN_FILENO) } == 1 {
        libc::STDIN_FILENO
    } else {
        libc::STDOUT_FILENO
    }
}
