//! The demo's server, `leaky-server`: answers every connection, closes most, and forgets the rest, as real ones do.

use anyhow::{Context as _, Result};
use nix::sys::{prctl, signal::Signal};
use std::{
    ffi::CStr,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Never more forgotten connections than this.
const FORGOTTEN_MAX: usize = 256;

/// What a client asks for, in its first byte.
pub(crate) mod request {
    /// An answer, and a connection closed properly.
    pub(crate) const ANSWER: u8 = b'a';
    /// An answer, after which the server forgets the connection.
    pub(crate) const FORGET: u8 = b'f';
    /// As much data as the connection takes.
    pub(crate) const FLOOD: u8 = b'd';
}

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    seconds: u64,
}

/// Serves until the time is up or the demo ends; prints its port first.
pub(crate) fn run(args: &Args) -> Result<()> {
    begin(c"leaky-server", args.seconds)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    println!("{}", listener.local_addr()?.port());
    let mut forgotten = Vec::new();
    for stream in listener.incoming() {
        // A client that went away is no reason to stop.
        if let Ok(Some(stream)) = stream.and_then(serve)
            && forgotten.len() < FORGOTTEN_MAX
        {
            forgotten.push(stream);
        }
    }
    Ok(())
}

/// Names this process, and makes it end with the demo, or a little after the demo's time at the latest.
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

/// Returns the connection where it is one to forget.
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
            // Ends where the buffers of both ends are full.
            while stream.write(&[b'.'; 4096]).is_ok() {}
            Ok(Some(stream))
        }
        _ => {
            stream.write_all(b"ok\n")?;
            // The client closes first, so that TIME_WAIT is the client's.
            stream.read_to_end(&mut Vec::new())?;
            Ok(None)
        }
    }
}
