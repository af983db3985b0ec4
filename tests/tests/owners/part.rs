//! The puppet process: this program again, which performs one command at a time and responds with the numbers of its
//! descriptors.

use crate::ring;
use io_uring::IoUring;
use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
        wait::wait,
    },
    unistd::{ForkResult, dup2_raw, fork, getpid},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    env, fs,
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    mem::ManuallyDrop,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::mpsc,
    thread,
};
use tcptrace_tests::{host, interface};

/// Set in a puppet process: the path of the socket for its commands.
pub(crate) const ENTRANCE: &str = "TCPTRACE_TEST_ENTRANCE";
/// Set by `exec`: the connection of the process before it.
const CONTROL: &str = "TCPTRACE_TEST_CONTROL";
/// Maximum length of commands and responses.
pub(crate) const LONGEST: usize = 512;
/// Above all descriptors that the puppets' sockets get.
const CONTROL_NUMBER: RawFd = 1000;
/// The first descriptor of a socket-activated service: sd_listen_fds(3).
const LISTEN_FDS_START: RawFd = 3;

/// Performs commands until the test closes the connection.
pub(crate) fn play(entrance: PathBuf) -> ! {
    let control = match env::var(CONTROL) {
        Ok(number) => {
            let control = ManuallyDrop::into_inner(at(&number).expect("a number"));
            answer(&control, "played on");
            control
        }
        Err(_) => enter(&entrance).expect("the test waits at the entrance"),
    };
    let mut part = Part {
        entrance,
        control,
        rings: Vec::new(),
    };
    loop {
        let (order, gift) = receive(&part.control).expect("the test gives orders");
        if order.is_empty() {
            process::exit(0);
        }
        match part.obey(&order, gift) {
            Ok(Some(output)) => answer(&part.control, &output),
            Ok(None) => {}
            Err(error) => answer(&part.control, &format!("error: {order}: {error}")),
        }
    }
}

struct Part {
    entrance: PathBuf,
    control: Socket,
    rings: Vec<IoUring>,
}

impl Part {
    /// Performs a command and returns the response; `None` if it has none.
    fn obey(&mut self, order: &str, gift: Option<OwnedFd>) -> io::Result<Option<String>> {
        let words: Vec<&str> = order.split(' ').collect();
        let done = || Ok(Some("done".to_owned()));
        match words.as_slice() {
            ["thread", name, rest @ ..] => in_thread(name, rest).map(Some),
            ["serve", listener] => self.serve(listener).map(Some),
            ["dup", socket] => number(at(socket)?.try_clone()?),
            ["close", socket] => {
                drop(ManuallyDrop::into_inner(at(socket)?));
                done()
            }
            ["take"] => Ok(gift.map(|gift| gift.into_raw_fd().to_string())),
            ["send", through, socket] => {
                send(&*at(through)?, "!", Some(&*at(socket)?))?;
                done()
            }
            ["receive", through] => {
                let (_, socket) = receive(&*at(through)?)?;
                Ok(socket.map(|socket| socket.into_raw_fd().to_string()))
            }
            ["keep", socket] => {
                fcntl(&*at(socket)?, FcntlArg::F_SETFD(FdFlag::empty()))?;
                done()
            }
            ["name", name] => {
                fs::write("/proc/self/comm", name)?;
                done()
            }
            ["exec", program] => Err(self.exec(&mut Command::new(program))),
            ["activate", program, listener] => Err(self.activate(program, listener)?),
            ["fork"] => self.fork(),
            ["fork-as", pid] => self.fork_as(pid),
            // The id in this process's pid namespace.
            ["pid"] => Ok(Some(process::id().to_string())),
            ["reap"] => {
                wait()?;
                done()
            }
            ["unshare"] => {
                unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)?;
                interface::bring_up("lo")?;
                Ok(Some(fs::metadata("/proc/thread-self/ns/net")?.ino().to_string()))
            }
            ["ring-accept", listener] => {
                self.rings.push(ring::new()?);
                let accepted = ring::accept(self.last_ring()?, at(listener)?.as_raw_fd())?;
                Ok(Some(accepted.to_string()))
            }
            ["ring-accept-direct", listener] => {
                self.rings.push(ring::new()?);
                let slot = ring::accept_direct(self.last_ring()?, at(listener)?.as_raw_fd())?;
                Ok(Some(slot.to_string()))
            }
            ["ring-close", slot] => {
                ring::close_direct(self.last_ring()?, slot.parse().map_err(io::Error::other)?)?;
                done()
            }
            plain => open(plain).map(Some),
        }
    }

    fn last_ring(&mut self) -> io::Result<&mut IoUring> {
        self.rings.last_mut().ok_or_else(|| io::Error::other("no ring"))
    }

    /// Accepts, and sends every client this process id and the descriptor, until the next command.
    fn serve(&self, listener: &str) -> io::Result<String> {
        let listener = at(listener)?;
        listener.set_nonblocking(true)?;
        let mut count = 0;
        loop {
            let mut waiting = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut waiting, PollTimeout::NONE)?;
            if waiting[0].any().unwrap_or(false) {
                return Ok(count.to_string());
            }
            match listener.accept() {
                Ok((socket, _)) => {
                    let word = format!("{} {}\n", process::id(), socket.as_raw_fd());
                    socket.send(word.as_bytes())?;
                    // It stays open until a command closes it.
                    let _: RawFd = socket.into_raw_fd();
                    count += 1;
                }
                // Another worker was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn exec(&self, command: &mut Command) -> io::Error {
        let kept = fcntl(&self.control, FcntlArg::F_SETFD(FdFlag::empty()));
        if let Err(error) = kept {
            return error.into();
        }
        command
            .env(ENTRANCE, &self.entrance)
            .env(CONTROL, self.control.as_raw_fd().to_string())
            .exec()
    }

    /// Becomes a service that inherits its listener: sd_listen_fds(3).
    fn activate(&self, program: &str, listener: &str) -> io::Result<io::Error> {
        let listener = at(listener)?;
        if listener.as_raw_fd() == LISTEN_FDS_START {
            fcntl(&*listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
        } else {
            // SAFETY: nothing in this process owns that descriptor: the control connection is far above it, and the
            // test uses no socket after this.
            let first = unsafe { dup2_raw(&*listener, LISTEN_FDS_START) }?;
            let _: RawFd = first.into_raw_fd();
        }
        let mut command = Command::new(program);
        command
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", process::id().to_string());
        Ok(self.exec(&mut command))
    }

    fn fork(&mut self) -> io::Result<Option<String>> {
        // SAFETY: a process that forks has only this thread; the child may do what the parent may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Some(child.to_string())),
            ForkResult::Child => self.begin_anew(),
        }
    }

    /// Forks a child with this process id, which must be free.
    fn fork_as(&mut self, pid: &str) -> io::Result<Option<String>> {
        let pid: libc::pid_t = pid.parse().map_err(io::Error::other)?;
        // SAFETY: all-zero bytes are a valid `clone_args`.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
        arguments.set_tid = std::ptr::from_ref(&pid).addr() as u64;
        arguments.set_tid_size = 1;
        // SAFETY: without memory or stack of its own it is `fork`: this process has only this thread, and the
        // arguments outlive the call.
        let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
        match Errno::result(child)? {
            0 => self.begin_anew(),
            child => Ok(Some(child.to_string())),
        }
    }

    /// Initialises a child: it dies with its parent, and has its own control connection.
    fn begin_anew(&mut self) -> io::Result<Option<String>> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        self.control = enter(&self.entrance)?;
        Ok(None)
    }
}

/// Commands that any thread can perform.
fn open(words: &[&str]) -> io::Result<String> {
    let opened = match words {
        ["listen"] => {
            let (listener, address) = listening()?;
            return Ok(format!("{} {}", listener.into_raw_fd(), address.port()));
        }
        ["socket"] => socket()?,
        ["bind"] => bound()?,
        ["activated"] => {
            let pid = env::var("LISTEN_PID").map_err(io::Error::other)?;
            assert_eq!(
                pid,
                getpid().to_string(),
                "the listener is meant for this process"
            );
            return Ok(LISTEN_FDS_START.to_string());
        }
        ["accept", listener] => at(listener)?.accept()?.0,
        ["connect", address] => {
            let address: SocketAddr = address.parse().map_err(io::Error::other)?;
            let socket = socket()?;
            socket.connect(&address.into())?;
            socket
        }
        ["shutdown", socket] => {
            at(socket)?.shutdown(Shutdown::Write)?;
            return Ok("done".to_owned());
        }
        ["port", socket] => return Ok(host::local_end(&*at(socket)?)?.port().to_string()),
        ["pairs", count] => {
            let (listener, address) = listening()?;
            for _ in 0..count.parse().map_err(io::Error::other)? {
                let client = socket()?;
                client.connect(&address.into())?;
                let (server, _) = listener.accept()?;
                let _: [RawFd; 2] = [client.into_raw_fd(), server.into_raw_fd()];
            }
            return Ok("done".to_owned());
        }
        ["fill", socket] => {
            let socket = at(socket)?;
            socket.set_nonblocking(true)?;
            while socket.send(&[0; 4096]).is_ok() {}
            return Ok("done".to_owned());
        }
        other => return Err(io::Error::other(format!("no such order: {other:?}"))),
    };
    Ok(opened.into_raw_fd().to_string())
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

fn bound() -> io::Result<Socket> {
    let socket = socket()?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}

fn listening() -> io::Result<(Socket, SocketAddr)> {
    let listener = bound()?;
    listener.listen(1024)?;
    let address = host::local_end(&listener)?;
    Ok((listener, address))
}

/// Another thread performs the command, and stays.
fn in_thread(name: &str, words: &[&str]) -> io::Result<String> {
    let (sender, receiver) = mpsc::channel();
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // It has no receiver only while the process exits.
        let _ = sender.send(open(&words));
        loop {
            thread::park();
        }
    })?;
    receiver.recv().map_err(io::Error::other)?
}

#[expect(clippy::unnecessary_wraps, reason = "the last act of an order")]
fn number(socket: Socket) -> io::Result<Option<String>> {
    Ok(Some(socket.into_raw_fd().to_string()))
}

/// A socket of this process, by its number; it stays open.
fn at(number: &str) -> io::Result<ManuallyDrop<Socket>> {
    let number: RawFd = number.parse().map_err(io::Error::other)?;
    // SAFETY: the test uses only numbers that this process has sent it and that nothing here owns; a command closes it.
    Ok(ManuallyDrop::new(unsafe { Socket::from_raw_fd(number) }))
}

fn enter(entrance: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    socket.connect(&SockAddr::unix(entrance)?)?;
    let number = fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(CONTROL_NUMBER))?;
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok(unsafe { Socket::from_raw_fd(number) })
}

fn answer(control: &Socket, output: &str) {
    if send(control, output, None).is_err() {
        // The test has closed the connection.
        process::exit(0);
    }
}

/// Sends a message, with a descriptor.
pub(crate) fn send(through: &Socket, text: &str, gift: Option<&Socket>) -> io::Result<()> {
    let gifts: Vec<RawFd> = gift.iter().map(|gift| gift.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&gifts)];
    let control = if gifts.is_empty() { &[][..] } else { &rights[..] };
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg::<UnixAddr>(through.as_raw_fd(), &text, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives a message with its descriptor; empty if the other side has closed.
pub(crate) fn receive(through: &Socket) -> io::Result<(String, Option<OwnedFd>)> {
    let mut text = [0; LONGEST];
    let mut space = cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut text)];
    let message = loop {
        // A time limit makes the kernel return EINTR if the process was stopped: signal(7).
        match recvmsg::<UnixAddr>(
            through.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let mut gifts = message.cmsgs()?.filter_map(|control| match control {
        ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for this process.
    let gift = gifts.next().map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    let length = message.bytes;
    Ok((String::from_utf8_lossy(&text[..length]).into_owned(), gift))
}
