//! The test's side of the puppet processes: starts them under any name, sends commands, and ends them.

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

/// Maximum time for a command on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Limit of open files of each process, if this user may raise it.
const OPEN_FILES: u64 = 32_768;

/// Creates the puppets of a test.
pub(crate) struct Stage {
    pub(crate) open_files: u64,
    folder: TempDir,
    entrance: Socket,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let open_files = files::allow_up_to(OPEN_FILES).expect("a limit can be read and used");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let entrance = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("Unix sockets");
        let path = SockAddr::unix(folder.path().join("entrance")).expect("a short path");
        entrance.bind(&path).expect("an empty folder");
        entrance.listen(64).expect("bound");
        entrance.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        Self {
            open_files,
            folder,
            entrance,
        }
    }

    /// Starts a process of this name without inherited descriptors, in this thread's namespaces.
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

    /// Starts a process that connects, reports itself, and exits.
    pub(crate) fn spawn_brief(&self, name: &str, address: SocketAddr) -> Child {
        Command::new(self.program(name))
            .env(brief::ADDRESS, address.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("a process can be started")
    }

    /// The process forks; returns the child.
    pub(crate) fn fork(&self, parent: &mut Puppet) -> Puppet {
        let pid: u32 = parent.number("fork");
        let child = self.next();
        assert_eq!(child.pid, pid, "one enters after the other");
        child
    }

    /// The process forks a child with this process id; `None` if the id is in use.
    pub(crate) fn fork_as(&self, parent: &mut Puppet, pid: u32) -> Option<Puppet> {
        let output = parent.try_ask(&format!("fork-as {pid}")).ok()?;
        assert_eq!(output, pid.to_string());
        Some(self.next())
    }

    /// The process executes another program, of this name.
    pub(crate) fn exec(&self, puppet: &mut Puppet, name: &str) {
        let program = self.program(name);
        puppet.ask(&format!("exec {}", program.display()));
    }

    /// The process becomes a service of this name, with its listener as the first descriptor.
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
        control.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        // The kernel translates the process id to this namespace.
        let peer = getsockopt(&control, PeerCredentials).expect("a Unix socket");
        Puppet {
            control,
            pid: u32::try_from(peer.pid()).expect("process ids are positive"),
            child: None,
        }
    }
}

pub(crate) struct Puppet {
    control: Socket,
    pub(crate) pid: u32,
    child: Option<Child>,
}

impl Puppet {
    /// The process as it is now.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.pid).expect("it runs")
    }

    /// Sends a command and returns the response.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.try_ask(order).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a command that may fail.
    pub(crate) fn try_ask(&mut self, order: &str) -> Result<String, String> {
        self.send(order);
        self.hear()
    }

    /// Sends a command without waiting for the response.
    pub(crate) fn send(&mut self, order: &str) {
        assert!(order.len() < part::LONGEST, "{order}");
        part::send(&self.control, order, None).expect("it listens");
    }

    /// Waits for the response to a command.
    pub(crate) fn hear(&mut self) -> Result<String, String> {
        let (output, _) = part::receive(&self.control).map_err(|error| format!("no answer: {error}"))?;
        match output.as_str() {
            "" => Err("it has ended".to_owned()),
            error if error.starts_with("error: ") => Err(output),
            _ => Ok(output),
        }
    }

    /// Sends a command whose response is a number.
    pub(crate) fn number<T: std::str::FromStr<Err: fmt::Debug>>(&mut self, order: &str) -> T {
        let output = self.ask(order);
        output
            .parse()
            .unwrap_or_else(|error| panic!("{order}: {output}: {error:?}"))
    }

    /// Listens on loopback.
    pub(crate) fn listen(&mut self) -> (RawFd, SocketAddr) {
        let output = self.ask("listen");
        let (listener, port) = output.split_once(' ').expect("a descriptor and a port");
        let port: u16 = port.parse().expect("a port");
        (listener.parse().expect("a number"), ([127, 0, 0, 1], port).into())
    }

    /// Sends it a descriptor of the test, and returns its number there.
    pub(crate) fn give(&mut self, socket: &impl AsFd) -> RawFd {
        let copy = socket.as_fd().try_clone_to_owned().expect("a descriptor");
        part::send(&self.control, "take", Some(&Socket::from(copy))).expect("it listens");
        let output = self.hear().unwrap_or_else(|error| panic!("{error}"));
        output.parse().expect("a number")
    }

    /// The expected holder in a snapshot, for one of its descriptors.
    pub(crate) fn holds(&self, fd: RawFd) -> Holder {
        let process = self.process();
        Holder {
            pid: process.pid,
            comm: process.comm,
            fd,
        }
    }

    /// Exits without closing its sockets; only a child of this process can be waited for.
    pub(crate) fn exit(mut self) {
        let mut child = self.child.take().expect("a child of this process");
        drop(self);
        child.wait().expect("our own child");
    }

    /// Kills it. A child of another puppet is then a zombie until that puppet reaps it.
    pub(crate) fn kill(mut self) {
        let pid = i32::try_from(self.pid).expect("process ids fit i32");
        // It is a child of this process or of a puppet, and has not been waited for.
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a process takes a signal");
        // Its control connection is closed once it is dead, with its sockets.
        assert_eq!(self.hear(), Err("it has ended".to_owned()));
        if let Some(mut child) = self.child.take() {
            child.wait().expect("our own child");
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // Its children die with it.
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
