//! TLS: with a password, with certificates of clients, and with certificates that are renewed while it serves.

use super::numbers::{listen, pair};
use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path, process::Command, time::Duration};
use tcptrace_tests::{
    certificates::certify, clock::poll_until, http, netns::Netns, prometheus::Prometheus, serving::Serving,
};

const TIMEOUT: Duration = Duration::from_mins(2);

pub(super) fn native_histograms_by_tls_with_a_password(netns: Netns) {
    // bcrypt of "secret".
    const HASH: &str = "$2b$05$R5Bb3hZ5d1lYg9yoV0yh8ueGDt6GWbE9VNrEHoPkXgxyIY06LyyDS";
    let folder = tempfile::tempdir().expect("a temporary folder");
    certify(folder.path(), "server", &[]);
    let web = folder.path().join("web.yml");
    let text = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\nbasic_auth_users:\n  prometheus: {HASH}\n"
    );
    fs::write(&web, text).expect("our own folder");
    let inode = netns.inode.to_string();
    let serving = Serving::start(&["-N", &inode, "--web-config", &web.display().to_string()]);
    // Plain HTTP is no TLS.
    assert!(http::get(serving.address, "/metrics", &[]).is_err());
    let job = |name: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    tls_config: {{ca_file: server.pem}}\n    basic_auth: {{username: prometheus, password: {password}}}\n    static_configs:\n      - targets: [\"{}\"]\n",
            serving.address
        )
    };
    let jobs = job("right", "secret") + &job("wrong", "guess");
    let prometheus = Prometheus::start(folder.path(), &jobs, &["--enable-feature=native-histograms"]);
    let (listener, _) = listen();
    for _ in 0..100 {
        drop(pair(&listener));
    }
    let has_all = || {
        let count = prometheus.number(
            "histogram_count(tcptrace_handshake_duration_seconds{job=\"right\",side=\"client\",outcome=\"connected\"})",
        )?;
        (count >= 100.0).then_some(())
    };
    poll_until(TIMEOUT, has_all).expect("the handshakes are there");
    let quantile =
        "histogram_quantile(0.5, tcptrace_handshake_duration_seconds{side=\"client\",outcome=\"connected\"})";
    let median = prometheus.number(quantile).expect("there is a median");
    assert!((1e-6..1.0).contains(&median), "{median}");
    let up = |job: &str| prometheus.number(&format!("up{{job=\"{job}\"}}"));
    let is_decided = || (up("right") == Some(1.0) && up("wrong") == Some(0.0)).then_some(());
    poll_until(TIMEOUT, is_decided).unwrap_or_else(|| panic!("{:?} {:?}", up("right"), up("wrong")));
    drop(prometheus);
    serving.stop();
}

/// The name in the certificate that the server shows.
fn shown(server: SocketAddr) -> String {
    let script = format!(
        "openssl s_client -connect {server} </dev/null 2>/dev/null | openssl x509 -noout -subject -nameopt RFC2253"
    );
    let output = Command::new("sh").args(["-c", &script]).output();
    let text = String::from_utf8(output.expect("there is a shell").stdout).expect("text");
    let (_, name) = text.trim().rsplit_once("CN=").unwrap_or_default();
    name.to_owned()
}

pub(super) fn clients_need_a_certificate_and_renewed_ones_are_used(netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    certify(path, "authority", &[]);
    let signed = [
        &["-CA", "authority.pem", "-CAkey", "authority.key"][..],
        &["-addext", "basicConstraints=CA:FALSE"],
    ]
    .concat();
    for name in ["first", "second", "prometheus"] {
        certify(path, name, &signed);
    }
    // As a Secret is mounted: links that lead through another one, which a renewal replaces.
    let renew = |certificate: &str, key: &str| {
        let version = format!("{certificate}-{key}");
        fs::create_dir(path.join(&version)).expect("our own folder");
        for (from, to) in [
            (format!("{certificate}.pem"), "server.pem"),
            (format!("{key}.key"), "server.key"),
        ] {
            fs::copy(path.join(from), path.join(&version).join(to)).expect("our own folder");
        }
        symlink(version, path.join("renewed")).expect("our own folder");
        fs::rename(path.join("renewed"), path.join("data")).expect("our own folder");
    };
    renew("first", "first");
    for name in ["server.pem", "server.key"] {
        symlink(Path::new("data").join(name), path.join(name)).expect("our own folder");
    }
    let text = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
        client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n";
    let web = path.join("web.yml");
    fs::write(&web, text).expect("our own folder");
    let inode = netns.inode.to_string();
    let serving = Serving::start(&["-N", &inode, "--web-config", &web.display().to_string()]);
    let job = |name: &str, certificate: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    tls_config: {{ca_file: authority.pem{certificate}}}\n    static_configs:\n      - targets: [\"{}\"]\n",
            serving.address
        )
    };
    let jobs = job("known", ", cert_file: prometheus.pem, key_file: prometheus.key")
        + &job("unknown", "")
        + &job("stranger", ", cert_file: stranger.pem, key_file: stranger.key");
    certify(path, "stranger", &["-addext", "basicConstraints=CA:FALSE"]);
    let prometheus = Prometheus::start(path, &jobs, &[]);
    let up =
        || ["known", "unknown", "stranger"].map(|job| prometheus.number(&format!("up{{job=\"{job}\"}}")));
    let decided = [Some(1.0), Some(0.0), Some(0.0)];
    poll_until(TIMEOUT, || (up() == decided).then_some(())).unwrap_or_else(|| panic!("{:?}", up()));
    drop(prometheus);
    assert_eq!(shown(serving.address), "first");
    // Of a key and a certificate that do not belong together, neither is used.
    renew("second", "first");
    let is_reported = || serving.messages().contains("stays in use").then_some(());
    poll_until(TIMEOUT, is_reported).unwrap_or_else(|| panic!("{}", serving.messages()));
    assert_eq!(shown(serving.address), "first");
    renew("second", "second");
    let is_renewed = || (shown(serving.address) == "second").then_some(());
    poll_until(TIMEOUT, is_renewed).unwrap_or_else(|| panic!("{}", serving.messages()));
    let prometheus = Prometheus::start(path, &jobs, &[]);
    let up = || prometheus.number("up{job=\"known\"}");
    poll_until(TIMEOUT, || (up() == Some(1.0)).then_some(())).unwrap_or_else(|| panic!("{:?}", up()));
    drop(prometheus);
    let messages = serving.stop();
    assert!(messages.contains("the TLS files have changed"), "{messages}");
}
