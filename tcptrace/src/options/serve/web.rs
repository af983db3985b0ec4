//! Prometheus's web configuration file (`--web.config.file` of its exporters): TLS, and users with bcrypt hashes of their
//! passwords. What is not supported is refused by name, not ignored.

use super::read;
use crate::options::{UsageError, wrong};
use bcrypt::HashParts;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FLAG: &str = "--web-config";

/// Each step doubles the time of a check: 15 takes seconds.
const MAX_COST: u32 = 15;

/// How clients are served: plain HTTP for anybody by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Web {
    pub(crate) tls: Option<TlsFiles>,
    /// Users and the bcrypt hashes of their passwords.
    pub(crate) users: BTreeMap<String, String>,
}

/// The files and versions of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The authorities one of which has to have signed the client's certificate; `None` if it needs none.
    pub(crate) client_authorities: Option<PathBuf>,
    /// Whether TLS 1.2 is refused.
    pub(crate) only_tls13: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<TlsServerConfig>,
    basic_auth_users: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsServerConfig {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuthType,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuthType {
    #[default]
    NoClientCert,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum MinVersion {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Reads the file, if one is given. Fails if it is not of this form, or asks for what is not supported.
pub(crate) fn web(path: Option<&Path>) -> Result<Web, UsageError> {
    let Some(path) = path else {
        return Ok(Web::default());
    };
    parse(&read(FLAG, path)?, path)
}

/// Files are named relative to the folder of the one that names them.
fn parse(text: &str, path: &Path) -> Result<Web, UsageError> {
    let refuse =
        |problem: String, remedy: &str| wrong(FLAG, format!("{}: {problem}", path.display()), remedy);
    let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| {
        refuse(
            described(&error),
            "see docs/commands.md for the keys that are supported",
        )
    })?;
    let File {
        tls_server_config,
        basic_auth_users,
    } = file.unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let tls = match tls_server_config {
        None => None,
        Some(config) => {
            let verifies = config.client_auth_type == ClientAuthType::RequireAndVerifyClientCert;
            if verifies != config.client_ca_file.is_some() {
                return Err(refuse(
                    "client_ca_file and client_auth_type RequireAndVerifyClientCert need each other"
                        .to_owned(),
                    "give both, or neither",
                ));
            }
            Some(TlsFiles {
                certificate: folder.join(config.cert_file),
                key: folder.join(config.key_file),
                client_authorities: config.client_ca_file.map(|path| folder.join(path)),
                only_tls13: config.min_version == MinVersion::Tls13,
            })
        }
    };
    let users = basic_auth_users.unwrap_or_default();
    for (name, hash) in &users {
        let is_usable = hash
            .parse::<HashParts>()
            .is_ok_and(|parts| parts.get_cost() <= MAX_COST);
        if !is_usable {
            return Err(refuse(
                format!("the password of {name} is no bcrypt hash of a cost up to {MAX_COST}"),
                "make one: htpasswd -nBC 10 \"\" | tr -d ':\\n'",
            ));
        }
    }
    Ok(Web { tls, users })
}

/// What is wrong, and where. Passwords and hashes are in the file, and the library's messages cite lines and values: so
/// nothing is repeated but keys.
fn described(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    let problem = match error.without_snippet() {
        E::SerdeUnknownField { field, .. } => format!("unknown key {field}"),
        E::SerdeMissingField { field, .. } => format!("{field} is missing"),
        E::SerdeUnknownVariant { expected, .. } => {
            format!("unknown value; supported are {}", expected.join(" and "))
        }
        E::SerdeInvalidType { .. } => "the value is of another type".to_owned(),
        E::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
        _ => "it is no YAML of the form that is expected".to_owned(),
    };
    match error.location() {
        Some(at) => format!("line {}, column {}: {problem}", at.line(), at.column()),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

    fn parsed(text: &str) -> Result<Web, String> {
        parse(text, Path::new("/etc/tcptrace/web.yml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_asks_for_nothing() {
        assert_eq!(parsed(""), Ok(Web::default()));
        assert_eq!(parsed("# nothing\n"), Ok(Web::default()));
    }

    #[test]
    fn files_are_beside_the_one_that_names_them() {
        let web = parsed(&format!(
            "tls_server_config:\n  cert_file: tls/server.crt\n  key_file: /keys/server.key\n  min_version: TLS13\n\
             basic_auth_users:\n  prometheus: {HASH}\n"
        ));
        let tls = TlsFiles {
            certificate: "/etc/tcptrace/tls/server.crt".into(),
            key: "/keys/server.key".into(),
            client_authorities: None,
            only_tls13: true,
        };
        let users = [("prometheus".to_owned(), HASH.to_owned())].into();
        assert_eq!(
            web,
            Ok(Web {
                tls: Some(tls),
                users
            })
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (text, named) in [
            ("rate_limit:\n  burst: 1\n", "rate_limit"),
            ("http_server_config:\n  http2: true\n", "http_server_config"),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  cipher_suites: []\n",
                "cipher_suites",
            ),
            ("tls_server_config:\n  cert_file: a\n", "key_file"),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: RequestClientCert\n",
                "RequireAndVerifyClientCert",
            ),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  min_version: TLS10\n",
                "TLS12 and TLS13",
            ),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_ca_file: c\n",
                "client_auth_type",
            ),
            ("basic_auth_users:\n  prometheus: secret\n", "prometheus"),
            ("basic_auth_users: [", "line 1"),
            (
                &format!("basic_auth_users:\n  slow: {}\n", HASH.replace("$10$", "$31$")),
                "slow",
            ),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(
                error.contains(named) && error.contains("web.yml"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn nothing_secret_is_repeated() {
        for text in [
            "basic_auth_users: hunter2\n",
            "basic_auth_users:\n  prometheus: [hunter2]\n",
            "basic_auth_users:\n  prometheus: {hunter2: hunter2}\n",
            "basic_auth_users:\n  - hunter2\n",
            "basic_auth_users:\n  prometheus: hunter2\n",
            "basic_auth_users:\n  prometheus: \"hunter2\n",
            "basic_auth_users:\n  prometheus: hunter2\n rate_limit: 1\n",
            "basic_auth_users:\n  prometheus: hunter2\nrate_limit: 1\n",
            "basic_auth_users:\n  prometheus: !hunter2 hunter2\n  prometheus: hunter2\n",
            "basic_auth_users:\n  prometheus: *hunter2\n",
            "tls_server_config: hunter2\n",
            "tls_server_config:\n  cert_file: a\n  key_file: b\n  min_version: hunter2\n",
            "hunter2",
        ] {
            let error = parsed(text).expect_err(text);
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
