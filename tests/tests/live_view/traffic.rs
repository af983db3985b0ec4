//! A program that leaks some connections and closes others.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

/// Connections that their peers have closed.
pub(crate) const LEAKED: usize = 7;

/// Connections in use.
pub(crate) const USED: usize = 3;

/// Bytes that each peer has sent before it closed.
pub(crate) const UNREAD: usize = 10;

/// Connections that are closed in time: the rule `close-wait-leak` learns from 50.
const SAMPLES: usize = 60;

/// Both sockets of all connections; the clients of the leaked ones are closed.
pub(crate) struct Traffic {
    listener: TcpListener,
    _used: Vec<(TcpStream, TcpStream)>,
    _leaked: Vec<TcpStream>,
    /// Local ports of the clients of the leaked ones.
    pub(crate) leaked_ports: Vec<u16>,
}

impl Traffic {
    /// Opens the connections.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener");
        let address = listener.local_addr().expect("it has one");
        let connect = || {
            let client = TcpStream::connect(address).expect("the listener takes a connection");
            (client, listener.accept().expect("it waits").0)
        };
        let used = (0..USED).map(|_| connect()).collect();
        let mut leaked_ports = Vec::new();
        let leaked = (0..LEAKED)
            .map(|_| {
                let (mut client, server) = connect();
                client.write_all(&[b'x'; UNREAD]).expect("the buffers have room");
                leaked_ports.push(client.local_addr().expect("it has one").port());
                server
            })
            .collect();
        Self {
            listener,
            _used: used,
            _leaked: leaked,
            leaked_ports,
        }
    }

    /// As many connections that the server closes after its client as the leak rule learns from.
    pub(crate) fn close_many_in_time(&self) {
        let address = self.listener.local_addr().expect("it has one");
        for _ in 0..SAMPLES {
            let client = TcpStream::connect(address).expect("the listener takes a connection");
            let (mut server, _) = self.listener.accept().expect("it waits");
            drop(client);
            // The end of file: the client's FIN has arrived.
            let count = server.read(&mut [0]).expect("it is read");
            assert_eq!(count, 0);
        }
    }
}
