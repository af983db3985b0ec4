//! Where OTLP is pushed to, how often, and with which headers.

use crate::{
    cli::{OtlpLogs, ServeArgs},
    options::{UsageError, wrong},
};
use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use std::{path::PathBuf, time::Duration};

/// The default of `OTEL_METRIC_EXPORT_INTERVAL`.
const INTERVAL: Duration = Duration::from_mins(1);

/// The shortest: metrics are collected at most once a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// Headers that each request has.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OTLP/HTTP with protocol buffers.
    Http,
    /// OTLP/gRPC.
    Grpc,
}

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) is_tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What precedes `/v1/metrics`, without a slash at its end; empty for gRPC.
    pub(crate) base: String,
}

/// What is pushed where.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    pub(crate) endpoint: Endpoint,
    pub(crate) interval: Duration,
    pub(crate) headers: Headers,
    /// Authorities that may have signed the collector's certificate; `None` for those of the system.
    pub(crate) authorities: Option<PathBuf>,
    /// Whether connections that have ended are pushed as log records.
    pub(crate) logs: bool,
}

/// What the arguments ask for; `None` if nothing is to be pushed. `env_headers` is `OTEL_EXPORTER_OTLP_HEADERS`, whose
/// headers are sent unless the arguments have one of the same name. Fails if an argument makes no sense.
pub(crate) fn otlp(args: &ServeArgs, env_headers: Option<&str>) -> Result<Option<Otlp>, UsageError> {
    let Some(url) = &args.otlp else {
        let alone = [
            ("--otlp-interval", args.otlp_interval.is_some()),
            ("--otlp-header", !args.otlp_header.is_empty()),
            ("--otlp-ca", args.otlp_ca.is_some()),
            ("--otlp-logs", args.otlp_logs.is_some()),
        ];
        return match alone.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(wrong(flag, "nothing is pushed without --otlp", "give --otlp URL")),
            None => Ok(None),
        };
    };
    let endpoint = endpoint(url)?;
    if args.otlp_ca.is_some() && !endpoint.is_tls {
        return Err(wrong(
            "--otlp-ca",
            format!("{url} is not encrypted"),
            "give https:// or grpcs:// with --otlp",
        ));
    }
    let interval = args.otlp_interval.unwrap_or(INTERVAL);
    if interval < SHORTEST {
        return Err(wrong(
            "--otlp-interval",
            "metrics are collected at most once a second",
            "give a time of 1 s or more",
        ));
    }
    let mut headers = Headers::new();
    for text in &args.otlp_header {
        headers.push(header("--otlp-header", text.split_once('='), str::to_owned)?);
    }
    for pair in env_headers
        .unwrap_or_default()
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
    {
        let (name, value) = header("OTEL_EXPORTER_OTLP_HEADERS", pair.split_once('='), decoded)?;
        if headers.iter().all(|(other, _)| *other != name) {
            headers.push((name, value));
        }
    }
    Ok(Some(Otlp {
        endpoint,
        interval,
        headers,
        authorities: args.otlp_ca.clone(),
        logs: matches!(args.otlp_logs, Some(OtlpLogs::Lifetimes)),
    }))
}

fn endpoint(url: &str) -> Result<Endpoint, UsageError> {
    let refuse = |problem: &str| {
        let remedy =
            "give a URL as http://host:4318, or grpc://host:4317; https:// and grpcs:// are encrypted";
        wrong("--otlp", format!("invalid URL \"{url}\": {problem}"), remedy)
    };
    let uri: Uri = url
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| refuse(&error.to_string()))?;
    let (protocol, is_tls, default_port) = match uri.scheme_str() {
        Some("http") => (Protocol::Http, false, 4318),
        Some("https") => (Protocol::Http, true, 4318),
        Some("grpc") => (Protocol::Grpc, false, 4317),
        Some("grpcs") => (Protocol::Grpc, true, 4317),
        Some(other) => return Err(refuse(&format!("unknown scheme \"{other}\""))),
        None => return Err(refuse("it has no scheme")),
    };
    let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(refuse(
            "names and passwords go into --otlp-header authorization=…",
        ));
    }
    if uri.query().is_some() {
        return Err(refuse("it has a query"));
    }
    let base = uri.path().trim_end_matches('/');
    if protocol == Protocol::Grpc && !base.is_empty() {
        return Err(refuse("gRPC has no path"));
    }
    let host = uri.host().unwrap_or_default();
    let port = match uri.port_u16() {
        // Without a port, the authority is the host.
        None if authority.as_str() == host => default_port,
        None | Some(0) => return Err(refuse("its port is not from 1 to 65535")),
        Some(port) => port,
    };
    Ok(Endpoint {
        protocol,
        is_tls,
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port,
        base: base.to_owned(),
    })
}

fn header(
    origin: &'static str,
    pair: Option<(&str, &str)>,
    read: impl Fn(&str) -> String,
) -> Result<(HeaderName, HeaderValue), UsageError> {
    // Values are secrets, and are not repeated.
    let refuse = |problem: &str| wrong(origin, problem.to_owned(), "give NAME=VALUE");
    let (name, value) = pair.ok_or_else(|| refuse("there is no = in a header"))?;
    let name = name.trim();
    let parsed = name
        .parse()
        .map_err(|_| refuse(&format!("\"{name}\" is no name of a header")))?;
    let value = HeaderValue::from_str(&read(value.trim()));
    let mut value = value.map_err(|_| {
        refuse(&format!(
            "the value of {name} has characters that no header may have"
        ))
    })?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Undoes percent-encoding, as in the values of W3C baggage, whose form the variables of OpenTelemetry have.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &others[2..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn of(arguments: &[&str], env: Option<&str>) -> Result<Option<Otlp>, String> {
        let all = ["tcptrace", "serve"].iter().chain(arguments);
        let Command::Serve(args) = Cli::try_parse_from(all).expect("clap takes them").command else {
            unreachable!("it is `serve`");
        };
        otlp(&args, env).map_err(|error| error.to_string())
    }

    fn at(url: &str) -> Endpoint {
        of(&["--otlp", url], None)
            .expect(url)
            .expect("it is asked for")
            .endpoint
    }

    #[test]
    fn a_url_names_protocol_encryption_and_port() {
        let endpoint = |protocol, is_tls, host: &str, port, base: &str| Endpoint {
            protocol,
            is_tls,
            host: host.to_owned(),
            port,
            base: base.to_owned(),
        };
        assert_eq!(
            at("http://otel"),
            endpoint(Protocol::Http, false, "otel", 4318, "")
        );
        assert_eq!(
            at("https://otel:443/"),
            endpoint(Protocol::Http, true, "otel", 443, "")
        );
        let prometheus = endpoint(Protocol::Http, false, "::1", 9090, "/api/v1/otlp");
        assert_eq!(at("http://[::1]:9090/api/v1/otlp/"), prometheus);
        assert_eq!(
            at("grpc://10.0.0.1"),
            endpoint(Protocol::Grpc, false, "10.0.0.1", 4317, "")
        );
        assert_eq!(
            at("grpcs://otel:1"),
            endpoint(Protocol::Grpc, true, "otel", 1, "")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, problem) in [
            (&["--otlp", "otel:4318"][..], "invalid URL"),
            (&["--otlp", "/v1/metrics"], "no scheme"),
            (&["--otlp", "ftp://otel"], "unknown scheme"),
            (&["--otlp", "http://me:secret@otel"], "--otlp-header"),
            (&["--otlp", "http://otel/?x=1"], "query"),
            (&["--otlp", "http://otel:99999"], "from 1 to 65535"),
            (&["--otlp", "grpc://[::1]:0"], "from 1 to 65535"),
            (&["--otlp", "http://otel:"], "from 1 to 65535"),
            (&["--otlp", "grpc://otel/v1"], "no path"),
            (&["--otlp-interval", "10s"], "without --otlp"),
            (&["--otlp-header", "a=b"], "without --otlp"),
            (
                &["--otlp", "http://otel", "--otlp-interval", "10ms"],
                "once a second",
            ),
            (
                &["--otlp", "http://otel", "--otlp-header", "secret"],
                "no = in a header",
            ),
            (
                &["--otlp", "http://otel", "--otlp-header", "a b=secret"],
                "no name",
            ),
            (
                &["--otlp", "http://otel", "--otlp-header", "a=sec\nret"],
                "characters",
            ),
            (&["--otlp", "http://otel", "--otlp-ca", "ca.pem"], "not encrypted"),
        ] {
            let error = of(arguments, None).expect_err("it makes no sense");
            assert!(error.contains(problem), "{arguments:?}: {error}");
            assert!(!error.contains("sec\nret"), "{error}");
        }
    }

    #[test]
    fn headers_of_the_command_line_take_precedence() {
        let arguments = ["--otlp", "http://otel", "--otlp-header", "api-key=a=b"];
        let wanted = of(&arguments, Some("Api-Key=other, x-tenant=a%20b,")).expect("they are headers");
        let headers = wanted.expect("it is asked for").headers;
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        assert_eq!(headers, [("api-key", "a=b"), ("x-tenant", "a b")]);
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decoded("a%2Cb%3d%c3%a9 %zz%"), "a,b=é %zz%");
    }
}
