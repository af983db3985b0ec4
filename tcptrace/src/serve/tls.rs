//! TLS: as a server, from the certificate and key of the web configuration file, which are read again when they change, and as
//! a client of a collector.

use crate::options::serve::TlsFiles;
use std::{
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

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

/// Inode, size, and time of the latest change in seconds and nanoseconds.
type Version = (u64, u64, i64, i64);

/// The files of a TLS server, which are read again when they change.
pub(crate) struct Certificates {
    files: TlsFiles,
    /// The version of each file that was read; `None` if it was not found.
    versions: Vec<Option<Version>>,
    latest: watch::Sender<TlsAcceptor>,
}

impl Certificates {
    /// Reads the files for the first time. Fails if one cannot be read, or certificate and key do not belong together.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let versions = versions(&files);
        Ok(Self {
            latest: watch::Sender::new(acceptor(&files)?),
            versions,
            files,
        })
    }

    /// Accepts TLS with the latest certificate that could be read.
    pub(crate) fn server(&self) -> Tls {
        Tls(self.latest.subscribe())
    }

    /// The folders in which renewed files appear: those that are named, and those that links lead to now.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let all = paths(&self.files).flat_map(|file| [Some(file.to_owned()), fs::canonicalize(file).ok()]);
        let mut folders: Vec<PathBuf> = all
            .flatten()
            .filter_map(|file| match file.parent()? {
                folder if folder == Path::new("") => Some(PathBuf::from(".")),
                folder => Some(folder.to_owned()),
            })
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Reads the files again if they have changed since they were last read, and returns whether they have. If they cannot be
    /// used, the ones before stay in use.
    pub(crate) fn refresh(&mut self) -> Result<bool, TlsError> {
        let versions = versions(&self.files);
        if versions == self.versions {
            return Ok(false);
        }
        // Those that cannot be used are read again once they have changed.
        self.versions = versions;
        self.latest.send_replace(acceptor(&self.files)?);
        Ok(true)
    }
}

fn paths(files: &TlsFiles) -> impl Iterator<Item = &Path> {
    let all = [
        Some(&files.certificate),
        Some(&files.key),
        files.client_authorities.as_ref(),
    ];
    all.into_iter().flatten().map(PathBuf::as_path)
}

fn versions(files: &TlsFiles) -> Vec<Option<Version>> {
    let version = |file: &Path| {
        let of = fs::metadata(file).ok()?;
        Some((of.ino(), of.len(), of.ctime(), of.ctime_nsec()))
    };
    paths(files).map(version).collect()
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = if files.only_tls13 {
        &[&rustls::version::TLS13]
    } else {
        rustls::ALL_VERSIONS
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = match &files.client_authorities {
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
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| in_file(&files.key, &error))?;
    let config = builder.with_single_cert(certificates(&files.certificate)?, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts TLS.
#[derive(Clone)]
pub(crate) struct Tls(watch::Receiver<TlsAcceptor>);

impl Tls {
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let acceptor = self.0.borrow().clone();
        acceptor.accept(stream).await
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
