//! Accepts clients, a bounded number at a time. One that waits for its next request, or has never made one, gives way to a
//! new one; so that a thousand idle clients do not keep Prometheus out.

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

/// One client.
struct Client {
    task: AbortHandle,
    /// Whether an answer is being made for it.
    is_busy: Arc<AtomicBool>,
}

/// All of them.
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
            is_busy.store(true, Ordering::Relaxed);
            let answer = answerer.answer(&request).await;
            is_busy.store(false, Ordering::Relaxed);
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
