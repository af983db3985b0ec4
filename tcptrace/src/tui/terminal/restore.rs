//! The terminal's settings from before, and how they are restored: from anywhere, signal handlers included.

use nix::errno::Errno;
use std::{
    io,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

/// Mouse modes off, the screen of its own left, the cursor shown: what crossterm's `DisableMouseCapture`,
/// `LeaveAlternateScreen` and `Show` write.
const RESTORE_SEQUENCE: &[u8] =
    b"\x1b[?1006l\x1b[?1015l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?1049l\x1b[?25h";

/// A terminal that accepts nothing for this time, as behind a hanging connection, is left unchanged.
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

/// The original settings; null while the terminal is not in use. Never freed, since a signal handler may be reading
/// them: 60 bytes for each time that the user suspends us.
static BEFORE: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());

/// Keys come without echo, lines and signals from now on. Where the terminal was not given back in between, as by a
/// SIGSTOP, the settings from before stay the ones to go back to.
pub(super) fn save_and_set_raw() -> io::Result<()> {
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

/// Restores the terminal, once. Failures are ignored: the terminal is then gone.
pub(super) fn restore() {
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
            libc::write(
                libc::STDOUT_FILENO,
                RESTORE_SEQUENCE.as_ptr().cast(),
                RESTORE_SEQUENCE.len(),
            );
        }
        libc::tcsetattr(keyboard(), libc::TCSANOW, before);
    }
}

/// From now on such a signal gives the terminal back before it ends the process.
pub(super) fn on_fatal_signals() {
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
    restore();
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
