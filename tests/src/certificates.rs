//! Certificates for tests of TLS, by `openssl`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Makes a certificate of this name for 127.0.0.1, `NAME.pem`, and its key, `NAME.key`, in `folder`. Signed by itself, unless
/// the further arguments of `openssl req` name an authority.
pub fn certify(folder: &Path, name: &str, more: &[&str]) {
    let status = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .args(more)
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(status.success());
}
