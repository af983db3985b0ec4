//! One request of OTLP over HTTP or gRPC: a connection of its own, since a minute may lie between two.

use super::{connections::Connections, outcome::Outcome};
use crate::{
    options::serve::otlp::{Endpoint, Otlp, Protocol},
    output::otlp::rejected,
    serve::{
        gzip,
        tls::{self, TlsError},
    },
};
use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Version,
    client::conn::{http1, http2},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, TE, USER_AGENT},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{borrow::Cow, io::Read as _, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// The default of `OTEL_EXPORTER_OTLP_TIMEOUT`: from connecting to the end of the response.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest response that is read.
const MOST: usize = 64 << 10;

/// The longest text of a collector that is repeated.
const LONGEST_REASON: usize = 256;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// DNS over TCP, for answers that do not fit into one datagram.
const DNS: u16 = 53;

/// What a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Logs,
}

impl Signal {
    /// What it is called in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    const fn grpc_method(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// Sends requests to one collector.
pub(super) struct Client {
    otlp: Otlp,
    /// `None` without encryption.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    target: String,
    connections: Arc<Connections>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a collector answered, for either protocol.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Client {
    pub(super) fn new(otlp: Otlp) -> Result<Self, TlsError> {
        let Endpoint {
            protocol,
            is_tls,
            host,
            port,
            base,
        } = &otlp.endpoint;
        let tls = if *is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))?;
            let versions: &[&[u8]] = match protocol {
                Protocol::Http => &[b"http/1.1"],
                Protocol::Grpc => &[b"h2"],
            };
            Some((tls::connector(otlp.authorities.as_deref(), versions)?, name))
        } else {
            None
        };
        let scheme = match (protocol, is_tls) {
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Grpc, false) => "grpc",
            (Protocol::Grpc, true) => "grpcs",
        };
        let target = format!("{scheme}://{}{base}", authority(host, *port));
        Ok(Self {
            otlp,
            tls,
            target,
            connections: Arc::default(),
        })
    }

    /// The collector's URL.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Its latest connections.
    pub(super) const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The ports that requests need.
    pub(super) fn ports(&self) -> [u16; 2] {
        [self.otlp.endpoint.port, DNS]
    }

    /// Sends one request and waits for the response, for a bounded time.
    pub(super) async fn send(&self, signal: Signal, message: &[u8]) -> Outcome {
        match timeout(PATIENCE, self.exchange(signal, message)).await {
            Err(_) => Outcome::passing(format!("no response within {} s", PATIENCE.as_secs())),
            Ok(Err(failure)) => Outcome::passing(causes(&*failure)),
            Ok(Ok(answer)) => match self.otlp.endpoint.protocol {
                Protocol::Http => of_http(&answer),
                Protocol::Grpc => of_grpc(&answer),
            },
        }
    }

    async fn exchange(&self, signal: Signal, message: &[u8]) -> Result<Answer, Failure> {
        let endpoint = &self.otlp.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        self.connections.note(stream.local_addr()?, stream.peer_addr()?);
        match &self.tls {
            None => self.exchange_on(stream, signal, message).await,
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await?;
                self.exchange_on(stream, signal, message).await
            }
        }
    }

    async fn exchange_on<S>(&self, stream: S, signal: Signal, message: &[u8]) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let request = self.request(signal, message)?;
        // The connection ends with the sender, in both protocols.
        let response = match self.otlp.endpoint.protocol {
            Protocol::Http => {
                let (mut sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                sender.send_request(request).await?
            }
            Protocol::Grpc => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST).collect().await?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    fn request(&self, signal: Signal, message: &[u8]) -> Result<Request<Full<Bytes>>, Failure> {
        let Endpoint {
            protocol,
            is_tls,
            host,
            port,
            base,
        } = &self.otlp.endpoint;
        let authority = authority(host, *port);
        let compressed = gzip(message);
        let request = Request::builder().method(Method::POST);
        let mut request = match protocol {
            Protocol::Http => request
                .uri(format!("{base}{}", signal.path()))
                .header(HOST, authority)
                .header(CONTENT_TYPE, "application/x-protobuf")
                .header(CONTENT_ENCODING, "gzip")
                .body(Full::new(compressed.into()))?,
            Protocol::Grpc => {
                let scheme = if *is_tls { "https" } else { "http" };
                request
                    .version(Version::HTTP_2)
                    .uri(format!("{scheme}://{authority}{}", signal.grpc_method()))
                    .header(CONTENT_TYPE, "application/grpc")
                    .header(TE, "trailers")
                    .header(GRPC_ENCODING, "gzip")
                    .body(Full::new(frame(&compressed)?))?
            }
        };
        let headers = request.headers_mut();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("tcptrace/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in &self.otlp.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A gRPC message: whether it is compressed, its length, and its bytes.
fn frame(message: &[u8]) -> Result<Bytes, std::num::TryFromIntError> {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(1);
    bytes.put_u32(u32::try_from(message.len())?);
    bytes.put_slice(message);
    Ok(bytes.freeze())
}

/// The message in a frame, of which at most [`MOST`] bytes are decompressed; `None` if there is none. grpc-go compresses its
/// answer as the request was, whatever the client says that it accepts.
fn unframed(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (head, message) = body.split_at_checked(5)?;
    if head[0] == 0 {
        return Some(message.into());
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(message).take(MOST as u64).read_to_end(&mut plain);
    read.is_ok().then_some(plain.into())
}

/// What a response of OTLP/HTTP means.
fn of_http(answer: &Answer) -> Outcome {
    if answer.status.is_success() {
        return taken(&answer.body);
    }
    let again = matches!(answer.status.as_u16(), 429 | 502..=504);
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    // A collector answers with a Status, whose text is no text alone.
    let text = if text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        ""
    } else {
        text.trim()
    };
    let reason = shortened(text);
    let colon = if reason.is_empty() { "" } else { ": " };
    Outcome::Failed {
        why: format!("HTTP status {}{colon}{reason}", answer.status),
        again: again.then(|| retry_after(&answer.headers).unwrap_or_default()),
    }
}

/// What a response of OTLP/gRPC means.
fn of_grpc(answer: &Answer) -> Outcome {
    // Without a message the trailers are the headers.
    let header = |name: &HeaderName| {
        let value = answer.trailers.get(name).or_else(|| answer.headers.get(name));
        value.and_then(|value| value.to_str().ok())
    };
    let Some(status) = header(&GRPC_STATUS).and_then(|status| status.parse::<u8>().ok()) else {
        return match of_http(answer) {
            Outcome::Taken(_) => Outcome::passing("the response has no gRPC status"),
            failed @ Outcome::Failed { .. } => failed,
        };
    };
    if status == 0 {
        return taken(&unframed(&answer.body).unwrap_or_default());
    }
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
    let again = matches!(status, 1 | 4 | 10 | 11 | 14 | 15);
    let reason = crate::options::serve::otlp::decoded(header(&GRPC_MESSAGE).unwrap_or_default());
    Outcome::Failed {
        why: format!("gRPC status {status}: {}", shortened(&reason)),
        again: again.then_some(Duration::ZERO),
    }
}

fn taken(response: &[u8]) -> Outcome {
    match rejected(response) {
        Ok(rejected) => Outcome::Taken(rejected),
        // It was taken all the same.
        Err(error) => {
            log::debug!("the response is none of OTLP: {error}");
            Outcome::Taken(None)
        }
    }
}

/// `Retry-After` in seconds; a date is not supported.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_REASON).collect()
}

/// An error and what caused it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
    };
    use prost::Message as _;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Answer {
            status: StatusCode::from_u16(status).expect("it is one"),
            headers: headers.collect(),
            body: Bytes::from_static(body),
            trailers: HeaderMap::new(),
        }
    }

    fn failed(outcome: Outcome) -> (String, Option<Duration>) {
        match outcome {
            Outcome::Failed { why, again } => (why, again),
            Outcome::Taken(_) => panic!("it failed"),
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(of_http(&answer(200, &[], b"")), Outcome::Taken(None));
        // A response that is none of the protocol does not make a failure of what was taken.
        assert_eq!(of_http(&answer(200, &[], b"<html>")), Outcome::Taken(None));
        let (why, again) = failed(of_http(&answer(400, &[], b"bad\n")));
        assert_eq!((why.as_str(), again), ("HTTP status 400 Bad Request: bad", None));
        assert_eq!(
            failed(of_http(&answer(404, &[], b"\x0a\x03bad"))).0,
            "HTTP status 404 Not Found"
        );
        let wait = Some(Duration::from_secs(7));
        assert_eq!(
            failed(of_http(&answer(429, &[("retry-after", "7")], b""))).1,
            wait
        );
        assert_eq!(
            failed(of_http(&answer(503, &[("retry-after", "soon")], b""))).1,
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_grpc_status_is_in_trailers_or_headers() {
        let mut taken = answer(200, &[], b"\0\0\0\0\0");
        taken.trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        assert_eq!(of_grpc(&taken), Outcome::Taken(None));
        // Nor does a message that cannot be read make a failure of what was taken.
        for unreadable in [&b""[..], b"\0", b"\x01\0\0\0\x02\x1f\x8b", b"\0\0\0\0\x01\xff"] {
            taken.body = Bytes::from_static(unreadable);
            assert_eq!(of_grpc(&taken), Outcome::Taken(None), "{unreadable:?}");
        }
        let unavailable = answer(200, &[("grpc-status", "14"), ("grpc-message", "full%21")], b"");
        assert_eq!(
            failed(of_grpc(&unavailable)),
            ("gRPC status 14: full!".to_owned(), Some(Duration::ZERO))
        );
        let refused = answer(200, &[("grpc-status", "16"), ("grpc-message", "who?")], b"");
        assert_eq!(
            failed(of_grpc(&refused)),
            ("gRPC status 16: who?".to_owned(), None)
        );
        assert_eq!(failed(of_grpc(&answer(502, &[], b""))).1, Some(Duration::ZERO));
        assert_eq!(
            failed(of_grpc(&answer(200, &[], b""))).0,
            "the response has no gRPC status"
        );
    }

    #[test]
    fn a_compressed_answer_is_read_up_to_a_limit() {
        let rejects = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 7,
                error_message: "too many".to_owned(),
            }),
        };
        let of = |message: &[u8]| {
            let mut answer = answer(200, &[("grpc-encoding", "gzip")], b"");
            answer.body = frame(&gzip(message)).expect("it is short");
            answer.trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            answer
        };
        // What grpc-go sends where nothing is rejected is not empty.
        assert_eq!(of_grpc(&of(&[])), Outcome::Taken(None));
        let Outcome::Taken(Some(rejected)) = of_grpc(&of(&rejects.encode_to_vec())) else {
            panic!("some are rejected");
        };
        assert_eq!(rejected.count, 7);
        let bomb = of(&vec![0; 100 * MOST]);
        assert_eq!(unframed(&bomb.body).expect("it is compressed").len(), MOST);
        assert_eq!(of_grpc(&bomb), Outcome::Taken(None));
    }
}
