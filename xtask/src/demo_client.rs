//! The demo's clients: `short-client` opens and closes connections, `stuck-reader` requests data and never reads it;
//! `lost-client`, for the picture of the dashboard, connects where nothing listens, and where nothing responds.

use crate::demo_server::{begin, request};
use anyhow::{Context as _, Result, bail};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Interval between two connections.
const PAUSE: Duration = Duration::from_millis(100);

/// Interval between two failed connects.
const RETRY: Duration = Duration::from_millis(400);

/// An address for documentation (RFC 5737), and how long a connect to it lasts.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);
const PATIENCE: Duration = Duration::from_secs(4);

/// One in this many connections is leaked by the server.
const FORGOTTEN_EVERY: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    seconds: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Role {
    Short,
    Stuck,
    Lost,
}

impl Role {
    /// The value on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Stuck => "stuck",
            Self::Lost => "lost",
        }
    }
}

/// Runs until the time has elapsed or the demo ends.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.role {
        Role::Short => {
            let end = begin(c"short-client", args.seconds)?;
            for number in 1.. {
                if Instant::now() >= end {
                    break;
                }
                let forgotten = number % FORGOTTEN_EVERY == 0;
                visit(
                    args.port,
                    if forgotten {
                        request::FORGET
                    } else {
                        request::ANSWER
                    },
                )?;
                thread::sleep(PAUSE);
            }
        }
        Role::Stuck => {
            let end = begin(c"stuck-reader", args.seconds)?;
            let _unread = ask(args.port, request::FLOOD)?;
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        Role::Lost => {
            let end = begin(c"lost-client", args.seconds)?;
            while Instant::now() < end {
                for _ in 0..10 {
                    if TcpStream::connect((Ipv4Addr::LOCALHOST, args.port)).is_ok() {
                        bail!("something listens on port {}", args.port);
                    }
                    thread::sleep(RETRY);
                }
                // Times out, after SYNs have been sent again.
                let _ = TcpStream::connect_timeout(&NOWHERE, PATIENCE);
            }
        }
    }
    Ok(())
}

fn ask(port: u16, what: u8) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the demo's server is gone")?;
    stream.write_all(&[what])?;
    Ok(stream)
}

/// Reads the response, then closes before the server does.
fn visit(port: u16, what: u8) -> Result<()> {
    let mut answer = [0; 3];
    ask(port, what)?
        .read_exact(&mut answer)
        .context("the demo's server does not respond")
}
