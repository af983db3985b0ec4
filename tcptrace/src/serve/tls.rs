//! TLS: as a server, from the certificate and key of the web configuration file, and as a client of a collector.

use std::{fmt, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

/// The files and versions of a TLS server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    /// The authorities one of which has to have signed the client's certificate; `None` if it needs none.
    pub(crate) client_authorities: Option<&'a Path>,
    /// Whether TLS 1.2 is refused.
    pub(crate) only_tls13: bool,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("client_ca_file cannot be used: {0}")]
    Authorities(String),
    #[error("{0} is neither a host's name nor an address")]
    Name(String),
    #[error("this system has no certificates of authorities: {0}")]
    NoRoots(String),
}

/// Accepts TLS.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files, once.
    pub(crate) fn read(wanted: Wanted<'_>) -> Result<Self, TlsError> {
        let versions: &[&rustls::SupportedProtocolVersion] = if wanted.only_tls13 {
            &[&rustls::version::TLS13]
        } else {
            rustls::ALL_VERSIONS
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match wanted.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| TlsError::Authorities(error.to_string()))?,
                )
            }
        };
        let key = PrivateKeyDer::from_pem_file(wanted.key).map_err(|error| in_file(wanted.key, &error))?;
        let config = builder.with_single_cert(certificates(wanted.certificate)?, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// Connects to servers whose certificate one of these authorities has signed, those of the system where none are given, and
/// that speak one of these protocols (ALPN).
pub(super) fn connector(authorities: Option<&Path>, protocols: &[&[u8]]) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots(errors.join("; ")));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| in_file(path, &error))?;
    let all: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|error| in_file(path, &error))?;
    if all.is_empty() {
        return Err(in_file(path, &"there is no certificate in it"));
    }
    Ok(all)
}

fn in_file(path: &Path, problem: &impl fmt::Display) -> TlsError {
    TlsError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}
