//! Answers one request.

use super::{
    auth::{Access, Users},
    board::Board,
};
use crate::output::exposition::Exposition;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
        HeaderValue, VARY, WWW_AUTHENTICATE,
    },
};
use std::sync::Arc;

type Answer = Response<Full<Bytes>>;

const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>tcptrace</title></head>\n<body>\n",
    "<h1>tcptrace ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>Sockets of this host by TCP state, and how long they have been in it.</p>\n<ul>\n",
    "<li><a href=\"/metrics\">/metrics</a>: metrics for Prometheus: text, OpenMetrics, or protocol buffers with native ",
    "histograms, as the client accepts</li>\n",
    "<li><a href=\"/healthz\">/healthz</a>: 200 while events are processed</li>\n",
    "<li><a href=\"/readyz\">/readyz</a>: 200 once the hooks are attached and there are metrics</li>\n",
    "</ul>\n</body>\n</html>\n"
);

/// What answers are made from.
pub(super) struct Answerer {
    pub(super) board: Arc<Board>,
    pub(super) users: Users,
}

impl Answerer {
    /// What a client gets that may not have what it asks for, or asks for what takes no time; `None` for others, whom
    /// [`Self::answer`] answers.
    pub(super) async fn admit<B>(&self, request: &Request<B>) -> Option<Answer> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            set(&mut answer, ALLOW, "GET, HEAD");
            return Some(answer);
        }
        let answer = match request.uri().path() {
            // Those who probe these have no passwords, and learn nothing.
            "/healthz" if self.board.is_healthy() => text(StatusCode::OK, "ok\n"),
            "/healthz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "no events have been processed for 30 s\n",
            ),
            "/readyz" if self.board.is_ready() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "there are no metrics yet\n"),
            _ => match self.users.check(request.headers().get(AUTHORIZATION)).await {
                Access::Granted => return None,
                Access::Refused => unauthorized(),
                Access::Busy => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many passwords are being checked: try again\n",
                ),
            },
        };
        Some(answer)
    }

    /// The answer to a client that was admitted.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        match request.uri().path() {
            "/metrics" => self.metrics(request.headers()).await,
            "/" => page(),
            _ => text(StatusCode::NOT_FOUND, "not found: / lists what is here\n"),
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let Some(published) = self.board.recent().await else {
            let why = "tcptrace is too busy to collect metrics: scrape again\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let form = Exposition::accepted(accept.unwrap_or_default());
        let encodings = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let is_compressed = accepts_gzip(encodings.unwrap_or_default());
        let mut answer = Response::new(Full::new(published.form(form, is_compressed)));
        set(&mut answer, CONTENT_TYPE, form.content_type());
        set(&mut answer, VARY, "accept, accept-encoding");
        if is_compressed {
            set(&mut answer, CONTENT_ENCODING, "gzip");
        }
        answer
    }
}

fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f64>);
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight, Some(Ok(0.0)))
    })
}

fn page() -> Answer {
    let mut answer = text(StatusCode::OK, PAGE);
    set(&mut answer, CONTENT_TYPE, "text/html; charset=utf-8");
    answer
}

fn unauthorized() -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, "unauthorized\n");
    set(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"tcptrace\"");
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Family, catalogue::SCANS},
        serve::auth::tests::basic,
    };
    use http_body_util::BodyExt as _;

    async fn ask(
        answerer: &Answerer,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String, Answer) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let answer = match answerer.admit(&request).await {
            Some(answer) => answer,
            None => answerer.answer(&request).await,
        };
        let body = answer.body().clone().collect().await.unwrap().to_bytes();
        (
            answer.status().as_u16(),
            String::from_utf8_lossy(&body).into_owned(),
            answer,
        )
    }

    fn answerer(users: Users) -> Answerer {
        let board = Board::new();
        board.publish(vec![Family::single(&SCANS, 7)]);
        Answerer {
            board: Arc::new(board),
            users,
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_path_is_answered() {
        let answerer = answerer(Users::default());
        for (method, path, status) in [
            ("GET", "/metrics", 200),
            ("GET", "/metrics?x=y", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/", 200),
            ("GET", "/healthz", 200),
            ("GET", "/readyz", 200),
            ("GET", "/metrics/", 404),
            ("GET", "/../etc/passwd", 404),
            ("POST", "/metrics", 405),
            ("DELETE", "/", 405),
        ] {
            let (found, body, _) = ask(&answerer, method, path, &[]).await;
            assert_eq!((found, body.is_empty()), (status, false), "{method} {path}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_client_chooses_form_and_compression() {
        let answerer = answerer(Users::default());
        let (_, body, answer) = ask(
            &answerer,
            "GET",
            "/metrics",
            &[("accept", "application/openmetrics-text")],
        )
        .await;
        assert!(body.ends_with("# EOF\n"), "{body}");
        assert!(answer.headers().get(CONTENT_ENCODING).is_none());
        for (header, is_compressed) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("", false),
        ] {
            let (_, _, answer) = ask(&answerer, "GET", "/metrics", &[("accept-encoding", header)]).await;
            assert_eq!(
                answer.headers().contains_key(CONTENT_ENCODING),
                is_compressed,
                "{header}"
            );
        }
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn nobody_is_ready_before_there_are_metrics() {
        let answerer = Answerer {
            board: Arc::new(Board::new()),
            users: Users::default(),
        };
        assert_eq!(ask(&answerer, "GET", "/readyz", &[]).await.0, 503);
        assert_eq!(ask(&answerer, "GET", "/healthz", &[]).await.0, 200);
        assert_eq!(ask(&answerer, "GET", "/metrics", &[]).await.0, 503);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_password_is_asked_for_what_is_read() {
        // "secret", at the lowest cost.
        let hash = bcrypt::hash("secret", 4).unwrap();
        let answerer = answerer(Users::new([("prometheus".to_owned(), hash)].into()));
        for (sent, status) in [
            (None, 401),
            (Some(basic("prometheus:secret")), 200),
            (Some(basic("prometheus:secret")), 200),
            (Some(basic("prometheus:wrong")), 401),
            (Some(basic("nobody:secret")), 401),
            (Some(basic("prometheus")), 401),
            (Some("Basic !".to_owned()), 401),
            (Some("Bearer x".to_owned()), 401),
        ] {
            let headers: Vec<(&str, &str)> =
                sent.iter().map(|sent| ("authorization", sent.as_str())).collect();
            assert_eq!(
                ask(&answerer, "GET", "/metrics", &headers).await.0,
                status,
                "{sent:?}"
            );
        }
        assert_eq!(ask(&answerer, "GET", "/healthz", &[]).await.0, 200);
    }
}
