//! An OpenTelemetry collector, made of the protocol's own definitions: takes metrics and log records by OTLP/HTTP and
//! OTLP/gRPC at one port, or does not, as a test wants.

use bytes::{Bytes, BytesMut};
use flate2::{
    Compression,
    read::{GzDecoder, GzEncoder},
};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{HeaderMap, Request, Response, body::Incoming, http::request::Parts, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        },
    },
    common::v1::{KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric, number_data_point},
};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    future,
    io::Read as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// Maximum time until a request arrives.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Takes the request, and rejects some of its points.
    TakesPart,
    /// Refuses it for good.
    Refuses,
    /// Cannot take it now.
    IsBusy,
    /// Never answers.
    IsSilent,
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub resource: BTreeMap<String, String>,
    pub metrics: Vec<Metric>,
}

/// A point of a metric that is a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub attributes: BTreeMap<String, String>,
    pub start: u64,
    pub value: f64,
}

pub struct Collector {
    pub address: SocketAddr,
    received: Receiver<Received>,
    logs: Receiver<Vec<LogRecord>>,
    manner: Arc<Mutex<Manner>>,
}

/// Where requests go.
#[derive(Clone)]
struct Senders {
    metrics: Sender<Received>,
    logs: Sender<Vec<LogRecord>>,
}

impl Collector {
    /// Starts one on a free port of 127.0.0.1.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port is free"), manner)
    }

    /// The same with TLS, by `collector.pem` and `collector.key` of a folder.
    #[must_use]
    pub fn with_tls(folder: &Path) -> Self {
        let certificates =
            CertificateDer::pem_file_iter(folder.join("collector.pem")).expect("it can be read");
        let certificates = certificates
            .collect::<Result<Vec<_>, _>>()
            .expect("they are certificates");
        let key = PrivateKeyDer::from_pem_file(folder.join("collector.key")).expect("it is a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has them").with_no_client_auth();
        let mut config = builder
            .with_single_cert(certificates, key)
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::serving(listener, Manner::Takes, Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts one that listens there.
    #[must_use]
    pub fn on(listener: TcpListener, manner: Manner) -> Self {
        Self::serving(listener, manner, None)
    }

    fn serving(listener: TcpListener, manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().expect("it listens");
        listener.set_nonblocking(true).expect("a socket takes it");
        let (metrics, received) = mpsc::channel();
        let (logs, received_logs) = mpsc::channel();
        let senders = Senders { metrics, logs };
        let manner = Arc::new(Mutex::new(manner));
        let shared = Arc::clone(&manner);
        thread::spawn(move || serve(listener, tls.as_ref(), &senders, &shared));
        Self {
            address,
            received,
            logs: received_logs,
            manner,
        }
    }

    pub fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// The next request that arrived.
    #[must_use]
    pub fn next(&self) -> Received {
        self.received.recv_timeout(TIMEOUT).expect("a request arrives")
    }

    /// The log records of the next request that has some.
    #[must_use]
    pub fn next_logs(&self) -> Vec<LogRecord> {
        self.logs.recv_timeout(TIMEOUT).expect("a request arrives")
    }

    /// How many have arrived since the last one that was taken.
    #[must_use]
    pub fn drain(&self) -> usize {
        self.received.try_iter().count()
    }
}

impl Received {
    /// The metric of this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> &Metric {
        let found = self.metrics.iter().find(|metric| metric.name == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))
    }
}

/// The points of a metric that has numbers; none of a histogram.
#[must_use]
pub fn points(metric: &Metric) -> Vec<Point> {
    let points = match metric.data.as_ref().expect("it has data") {
        metric::Data::Gauge(gauge) => &gauge.data_points[..],
        metric::Data::Sum(sum) => &sum.data_points[..],
        _ => &[],
    };
    points
        .iter()
        .map(|point| Point {
            attributes: attributes(&point.attributes),
            start: point.start_time_unix_nano,
            value: match point.value.expect("it has a value") {
                number_data_point::Value::AsDouble(value) => value,
                #[expect(clippy::cast_precision_loss, reason = "tests count less")]
                number_data_point::Value::AsInt(value) => value as f64,
            },
        })
        .collect()
}

/// Attributes by their keys; numbers as text.
#[must_use]
pub fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    all.iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}

fn serve(listener: TcpListener, tls: Option<&TlsAcceptor>, senders: &Senders, manner: &Arc<Mutex<Manner>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is not blocking");
        loop {
            let (stream, _) = listener.accept().await.expect("clients can be accepted");
            let (senders, manner, tls) = (senders.clone(), Arc::clone(manner), tls.cloned());
            tokio::spawn(async move {
                match tls {
                    None => serve_client(stream, senders, manner).await,
                    Some(tls) => {
                        // A client may not trust the certificate.
                        if let Ok(stream) = tls.accept(stream).await {
                            serve_client(stream, senders, manner).await;
                        }
                    }
                }
            });
        }
    });
}

async fn serve_client<S>(stream: S, senders: Senders, manner: Arc<Mutex<Manner>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, senders.clone(), Arc::clone(&manner)));
    let server = auto::Builder::new(TokioExecutor::new());
    // A client may go away.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    senders: Senders,
    manner: Arc<Mutex<Manner>>,
) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc = head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc");
    let mut message = Vec::new();
    // A message of gRPC has a flag and its length in front.
    let compressed = if is_grpc { &body[5..] } else { &body[..] };
    GzDecoder::new(compressed)
        .read_to_end(&mut message)
        .expect("it is compressed by gzip");
    // What a test sets once it has the request is for the next one.
    let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
    // The test may have ended.
    if head.uri.path().contains("ogs") {
        let message = ExportLogsServiceRequest::decode(&*message).expect("it is a request");
        let scopes = message
            .resource_logs
            .into_iter()
            .flat_map(|resource| resource.scope_logs);
        let _ = senders
            .logs
            .send(scopes.flat_map(|scope| scope.log_records).collect());
    } else {
        let _ = senders.metrics.send(received(&head, &message));
    }
    if manner == Manner::IsSilent {
        future::pending::<()>().await;
    }
    Ok(if is_grpc { of_grpc(manner) } else { of_http(manner) })
}

fn received(head: &Parts, message: &[u8]) -> Received {
    let message = ExportMetricsServiceRequest::decode(message).expect("it is a request");
    let [resource] = &message.resource_metrics[..] else {
        panic!("there is one resource");
    };
    Received {
        path: head.uri.path().to_owned(),
        headers: texts(&head.headers),
        resource: attributes(&resource.resource.as_ref().expect("it has attributes").attributes),
        metrics: resource
            .scope_metrics
            .iter()
            .flat_map(|scope| scope.metrics.clone())
            .collect(),
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

fn response(manner: Manner) -> Vec<u8> {
    let partial = ExportMetricsPartialSuccess {
        rejected_data_points: 7,
        error_message: "too many".to_owned(),
    };
    ExportMetricsServiceResponse {
        partial_success: (manner == Manner::TakesPart).then_some(partial),
    }
    .encode_to_vec()
}

fn of_http(manner: Manner) -> Answer {
    let (status, body) = match manner {
        Manner::Takes | Manner::TakesPart | Manner::IsSilent => (200, response(manner)),
        Manner::Refuses => (400, b"not like this".to_vec()),
        Manner::IsBusy => (503, Vec::new()),
    };
    let builder = Response::builder()
        .status(status)
        .header("content-type", "application/x-protobuf");
    builder.body(Full::from(body).boxed()).expect("it is a response")
}

fn of_grpc(manner: Manner) -> Answer {
    let (status, message) = match manner {
        Manner::Takes | Manner::TakesPart | Manner::IsSilent => ("0", ""),
        Manner::Refuses => ("3", "not%20like%20this"),
        Manner::IsBusy => ("14", "later"),
    };
    let builder = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip");
    if status != "0" {
        // Without a message there are headers alone.
        let builder = builder
            .header("grpc-status", status)
            .header("grpc-message", message);
        return builder.body(Full::default().boxed()).expect("it is a response");
    }
    // Compressed as the request was, as grpc-go does whatever the client says that it accepts.
    let mut message = Vec::new();
    GzEncoder::new(&*response(manner), Compression::fast())
        .read_to_end(&mut message)
        .expect("a vector takes all");
    let mut bytes = BytesMut::from(&[1][..]);
    bytes.extend_from_slice(&u32::try_from(message.len()).expect("it is short").to_be_bytes());
    bytes.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([(
        "grpc-status".parse().expect("a name"),
        "0".parse().expect("a value"),
    )]);
    let body = Full::from(bytes.freeze()).with_trailers(future::ready(Some(Ok(trailers))));
    builder.body(body.boxed()).expect("it is a response")
}
