//! Accepts clients, a bounded number at a time. One that waits for its next request, has never made one, or waits for its
//! password to be checked gives way to a new one; so that a thousand such clients do not keep Prometheus out.

use super::{answer::Answerer, tls::Tls};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

/// Clients at a time.
const MOST: usize = 256;

/// How long a client has for its TLS handshake, and for the head of a request from when it may send one.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client is served before it has to connect anew, and how long it has then to take its last answer.
const LONGEST: Duration = Duration::from_mins(5);
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// The head of a request, at most; Prometheus's has less than 1 KiB.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

/// How long to wait before another client is accepted if none could be: descriptors may be short.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that is connected.
struct Client {
    task: AbortHandle,
    /// Whether metrics are being made for it, which it may have.
    is_busy: Arc<AtomicBool>,
}

/// The clients that are connected, those who have been for longest first.
pub(super) struct Clients {
    answerer: Arc<Answerer>,
    tls: Option<Tls>,
    all: VecDeque<Client>,
}

impl Clients {
    pub(super) fn new(answerer: Arc<Answerer>, tls: Option<Tls>) -> Self {
        Self {
            answerer,
            tls,
            all: VecDeque::new(),
        }
    }

    /// Accepts clients for ever.
    pub(super) async fn accept(mut self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if self.make_room() {
                        self.start(stream);
                    }
                }
                Err(error) => {
                    log::info!("a client cannot be accepted: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Ends the client that has been there for longest of those that wait, if there are as many as may be. `false` where all
    /// of them are being answered.
    fn make_room(&mut self) -> bool {
        self.all.retain(|client| !client.task.is_finished());
        if self.all.len() < MOST {
            return true;
        }
        let waits = |client: &Client| !client.is_busy.load(Ordering::Relaxed);
        let Some(at) = self.all.iter().position(waits) else {
            return false;
        };
        if let Some(client) = self.all.remove(at) {
            client.task.abort();
        }
        true
    }

    fn start(&mut self, stream: TcpStream) {
        let is_busy = Arc::new(AtomicBool::new(false));
        let answerer = Arc::clone(&self.answerer);
        let tls = self.tls.clone();
        let flag = Arc::clone(&is_busy);
        let task = tokio::spawn(async move {
            match tls {
                None => serve(stream, answerer, flag).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
                        serve(stream, answerer, flag).await;
                    }
                }
            }
        });
        self.all.push_back(Client {
            task: task.abort_handle(),
            is_busy,
        });
    }
}

/// Answers the requests of one client.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    answerer: Arc<Answerer>,
    is_busy: Arc<AtomicBool>,
) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (answerer, is_busy) = (Arc::clone(&answerer), Arc::clone(&is_busy));
        async move {
            let answer = if let Some(answer) = answerer.admit(&request).await {
                answer
            } else {
                is_busy.store(true, Ordering::Relaxed);
                let answer = answerer.answer(&request).await;
                is_busy.store(false, Ordering::Relaxed);
                answer
            };
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    if timeout(LONGEST, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        // Whoever does not take it is cut off.
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Family, catalogue::SCANS},
        serve::{
            auth::{Users, tests::basic},
            board::Board,
        },
    };
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(address: SocketAddr, path: &str, password: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let authorization = basic(&format!("prometheus:{password}"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn status(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let read = timeout(HEAD, stream.read_to_end(&mut answer)).await;
        read.expect("it answers in time").unwrap();
        String::from_utf8_lossy(&answer[..12]).into_owned()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wrong_passwords_keep_nobody_out_who_is_known() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let board = Board::new();
        board.publish(vec![Family::single(&SCANS, 7)]);
        let answerer = Answerer {
            board: Arc::new(board),
            users: Users::new([("prometheus".to_owned(), hash)].into()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients = Clients::new(Arc::new(answerer), None);
        tokio::spawn(async move { clients.accept(&listener).await });
        assert_eq!(status(ask(address, "/", "secret").await).await, "HTTP/1.1 200");
        let mut guesses = Vec::new();
        for number in 0..2 * MOST {
            guesses.push(ask(address, "/", &number.to_string()).await);
        }
        assert_eq!(status(ask(address, "/healthz", "").await).await, "HTTP/1.1 200");
        assert_eq!(status(ask(address, "/", "secret").await).await, "HTTP/1.1 200");
        drop(guesses);
    }
}
