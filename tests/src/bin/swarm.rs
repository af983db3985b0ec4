//! `swarm COUNT PORT`: short processes, one after another, each with a name of its own, which connect to the port of
//! 127.0.0.1, wait until the server closes, and exit.

use nix::{
    sys::{
        prctl,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use std::{env, ffi::CString, io::Read as _, net::TcpStream, process};

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().and_then(|number| number.parse::<u32>().ok());
    let (Some(count), Some(port)) = (next(), next().and_then(|port| u16::try_from(port).ok())) else {
        eprintln!("usage: swarm COUNT PORT");
        process::exit(2);
    };
    for number in 0..count {
        // SAFETY: there are no other threads.
        match unsafe { fork() }.expect("a process can be made") {
            ForkResult::Child => {
                live(number, port);
                process::exit(0);
            }
            ForkResult::Parent { child } => {
                let status = waitpid(child, None).expect("our own child");
                assert_eq!(status, WaitStatus::Exited(child, 0));
            }
        }
    }
}

fn live(number: u32, port: u16) {
    let name = CString::new(format!("p{number}")).expect("there is no NUL in it");
    prctl::set_name(&name).expect("up to 15 bytes");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.read_to_end(&mut Vec::new()).expect("the end");
}
