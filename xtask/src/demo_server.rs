//! The demo's server, `leaky-server`: responds on every connection, closes most, and leaks the rest.

use anyhow::{Context as _, Result};
use nix::sys::{prctl, signal::Signal};
use std::{
    ffi::CStr,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Maximum number of leaked connections.
const FORGOTTEN_MAX: usize = 256;

/// The request of a client: its first byte.
pub(crate) mod request {
    /// Respond, then close the connection.
    pub(crate) const ANSWER: u8 = b'a';
    /// Respond, and never close the connection.
    pub(crate) const FORGET: u8 = b'f';
    /// Send until both buffers are full.
    pub(crate) const FLOOD: u8 = b'd';
}

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    seconds: u64,
}

/// Prints the port, then serves until the time has elapsed or the demo ends.
pub(crate) fn run(args: &Args) -> Result<()> {
    begin(c"leaky-server", args.seconds)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    println!("{}", listener.local_addr()?.port());
    let mut forgotten = Vec::new();
    for stream in listener.incoming() {
        // A client may have exited.
        if let Ok(Some(stream)) = stream.and_then(serve)
            && forgotten.len() < FORGOTTEN_MAX
        {
            forgotten.push(stream);
        }
    }
    Ok(())
}

/// Sets the name of this process, and makes it end with the demo, or soon after the demo's time has elapsed.
pub(crate) fn begin(name: &CStr, seconds: u64) -> Result<Instant> {
    prctl::set_name(name).context("cannot set the process's name")?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to the demo")?;
    let end = Instant::now() + Duration::from_secs(seconds + 10);
    thread::spawn(move || {
        thread::sleep(end.saturating_duration_since(Instant::now()));
        std::process::exit(0);
    });
    Ok(end)
}

/// Returns the connection if it is to be leaked.
fn serve(mut stream: TcpStream) -> io::Result<Option<TcpStream>> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte[0] {
        request::FORGET => {
            stream.write_all(b"ok\n")?;
            Ok(Some(stream))
        }
        request::FLOOD => {
            stream.set_nonblocking(true)?;
            // Ends when the buffers of both endpoints are full.
            while stream.write(&[b'.'; 4096]).is_ok() {}
            Ok(Some(stream))
        }
        _ => {
            stream.write_all(b"ok\n")?;
            // The client closes first and so has the TIME_WAIT.
            stream.read_to_end(&mut Vec::new())?;
            Ok(None)
        }
    }
}
