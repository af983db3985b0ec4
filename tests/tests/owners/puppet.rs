//! The test's side of the other processes: starts them under a name of its own choice, gives them orders, and
//! ends them.

use crate::{
    brief,
    judge::Process,
    part::{self, ENTRANCE},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    env, fmt,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, RawFd},
        unix::{fs::symlink, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tcptrace_tests::{files, sockets::Holder};
use tempfile::TempDir;

/// How long an order may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Open files that each of them may have, if this user may.
const OPEN_FILES: u64 = 32_768;

/// Where the other processes come in.
pub(crate) struct Stage {
    /// Open files that each process may have.
    pub(crate) open_files: u64,
    folder: TempDir,
    entrance: Socket,
}

impl Stage {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let open_files = files::allow_up_to(OPEN_FILES).expect("a limit can be read and used");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let entrance = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("Unix sockets");
        let path = SockAddr::unix(folder.path().join("entrance")).expect("a short path");
        entrance.bind(&path).expect("an empty folder");
        entrance.listen(64).expect("bound");
        entrance.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self {
            open_files,
            folder,
            entrance,
        }
    }

    /// Starts a process that has nothing open but what it was given, under this name, in this thread's
    /// namespaces.
    pub(crate) fn start(&self, name: &str) -> Puppet {
        let mut command = Command::new(self.program(name));
        command
            .arg0(name)
            .env(ENTRANCE, self.folder.path().join("entrance"))
            .stdin(Stdio::null());
        let child = command.spawn().expect("a process can be started");
        let mut puppet = self.next();
        assert_eq!(puppet.pid, child.id(), "one enters after the other");
        puppet.child = Some(child);
        puppet
    }

    /// Starts a process that connects, says who it is, and ends.
    pub(crate) fn spawn_brief(&self, name: &str, address: SocketAddr) -> Child {
        Command::new(self.program(name))
            .env(brief::ADDRESS, address.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("a process can be started")
    }

    /// Lets a process fork, and returns the child.
    pub(crate) fn fork(&self, parent: &mut Puppet) -> Puppet {
        let pid: u32 = parent.number("fork");
        let child = self.next();
        assert_eq!(child.pid, pid, "one enters after the other");
        child
    }

    /// Lets a process fork a child with this process id; `None` where it is taken.
    pub(crate) fn fork_as(&self, parent: &mut Puppet, pid: u32) -> Option<Puppet> {
        let said = parent.try_ask(&format!("fork-as {pid}")).ok()?;
        assert_eq!(said, pid.to_string());
        Some(self.next())
    }

    /// Lets a process become another program, of this name.
    pub(crate) fn exec(&self, puppet: &mut Puppet, name: &str) {
        let program = self.program(name);
        puppet.ask(&format!("exec {}", program.display()));
    }

    /// Lets a process become a service of this name, with its listener as the first descriptor.
    pub(crate) fn activate(&self, puppet: &mut Puppet, name: &str, listener: RawFd) {
        let program = self.program(name);
        puppet.ask(&format!("activate {} {listener}", program.display()));
    }

    /// This program under another name: the kernel names a process by the path that was executed.
    fn program(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        if !path.is_symlink() {
            symlink(env::current_exe().expect("a process has a program"), &path)
                .expect("a folder of our own");
        }
        path
    }

    fn next(&self) -> Puppet {
        let (control, _) = loop {
            // As in `part::receive`.
            match self.entrance.accept() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                accepted => break accepted.expect("a process comes in soon"),
            }
        };
        control.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // The kernel tells the process id in this namespace, whichever the process itself sees.
        let peer = getsockopt(&control, PeerCredentials).expect("a Unix socket");
        Puppet {
            control,
            pid: u32::try_from(peer.pid()).expect("process ids are positive"),
            child: None,
        }
    }
}

/// Another process.
pub(crate) struct Puppet {
    control: Socket,
    /// Its id.
    pub(crate) pid: u32,
    child: Option<Child>,
}

impl Puppet {
    /// Who it is now.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.pid).expect("it runs")
    }

    /// Gives an order and returns the answer.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.try_ask(order).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Gives an order that may fail.
    pub(crate) fn try_ask(&mut self, order: &str) -> Result<String, String> {
        self.tell(order);
        self.hear()
    }

    /// Gives an order without waiting for the answer.
    pub(crate) fn tell(&mut self, order: &str) {
        assert!(order.len() < part::LONGEST, "{order}");
        part::send(&self.control, order, None).expect("it listens");
    }

    /// Waits for the answer to an order.
    pub(crate) fn hear(&mut self) -> Result<String, String> {
        let (said, _) = part::receive(&self.control).map_err(|error| format!("no answer: {error}"))?;
        match said.as_str() {
            "" => Err("it has ended".to_owned()),
            error if error.starts_with("error: ") => Err(said),
            _ => Ok(said),
        }
    }

    /// Gives an order that is answered by a number.
    pub(crate) fn number<T: std::str::FromStr<Err: fmt::Debug>>(&mut self, order: &str) -> T {
        let said = self.ask(order);
        said.parse()
            .unwrap_or_else(|error| panic!("{order}: {said}: {error:?}"))
    }

    /// Lets it listen on loopback.
    pub(crate) fn listen(&mut self) -> (RawFd, SocketAddr) {
        let said = self.ask("listen");
        let (listener, port) = said.split_once(' ').expect("a descriptor and a port");
        let port: u16 = port.parse().expect("a port");
        (listener.parse().expect("a number"), ([127, 0, 0, 1], port).into())
    }

    /// Gives it a descriptor of the test's, and returns its number there.
    pub(crate) fn give(&mut self, socket: &impl AsFd) -> RawFd {
        let copy = socket.as_fd().try_clone_to_owned().expect("a descriptor");
        part::send(&self.control, "take", Some(&Socket::from(copy))).expect("it listens");
        let said = self.hear().unwrap_or_else(|error| panic!("{error}"));
        said.parse().expect("a number")
    }

    /// What a snapshot should say of a descriptor of its.
    pub(crate) fn holds(&self, fd: RawFd) -> Holder {
        let process = self.process();
        Holder {
            pid: process.pid,
            comm: process.comm,
            fd,
        }
    }

    /// Lets it exit, without a word to its sockets; only what was started here can be waited for.
    pub(crate) fn exit(mut self) {
        let mut child = self.child.take().expect("a child of this process");
        drop(self);
        child.wait().expect("our own child");
    }

    /// Kills it. A child of another puppet is a zombie afterwards, until that one reaps it.
    pub(crate) fn kill(mut self) {
        let pid = i32::try_from(self.pid).expect("process ids fit i32");
        // It is our own child or a puppet's, and nobody has waited for it.
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a process takes a signal");
        // Its end of the control is closed once it is dead, with its sockets.
        assert_eq!(self.hear(), Err("it has ended".to_owned()));
        if let Some(mut child) = self.child.take() {
            child.wait().expect("our own child");
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // What it has forked dies with it.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A client of a puppet's listener, in this process.
pub(crate) fn client(server: SocketAddr) -> TcpStream {
    TcpStream::connect(server).expect("it listens")
}

/// A listener in this process.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}
