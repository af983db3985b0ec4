//! The HTTP side of `tcptrace serve`, in a thread of its own without any privileges: it answers from the latest published
//! metrics, and asks the thread that traces for newer ones. Knows no engine and no kernel.

mod answer;
pub(crate) mod auth;
pub(crate) mod board;
mod clients;
pub(crate) mod otlp;
pub(crate) mod tls;

pub(crate) use board::Board;

use crate::privileges;
use auth::Users;
use clients::Clients;
use flate2::{Compression, write::GzEncoder};
use std::{io, io::Write as _, net::TcpListener, sync::Arc, thread};
use tls::Tls;

/// What HTTP is served with.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) board: Arc<Board>,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Who may read metrics; anybody where there is nobody.
    pub(crate) users: Users,
}

impl Server {
    /// Serves in a thread of its own for as long as the process runs. Fails if the thread cannot be started.
    pub(crate) fn start(self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Passwords are checked one at a time.
            .max_blocking_threads(1)
            .build()?;
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            privileges::renounce();
            runtime.block_on(self.serve());
        })?;
        Ok(())
    }

    async fn serve(self) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                log::error!("HTTP cannot be served: {error}");
                return;
            }
        };
        let answerer = Arc::new(answer::Answerer {
            board: self.board,
            users: self.users,
        });
        Clients::new(answerer, self.tls).accept(&listener).await;
    }
}

/// Compresses a body of HTTP, or a message of gRPC.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a vector takes all that is written to it")
}
