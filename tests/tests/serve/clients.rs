//! Clients that ask for everything, clients that ask for nothing, and many at a time.

use super::numbers::{listen, pair, wait_for};
use std::{
    io,
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{
    files,
    http::{self, Connection},
    netns::Netns,
    serving::Serving,
};

pub(super) fn every_path_and_form_is_answered(netns: Netns) {
    let serving = Serving::start(&["-N", &netns.inode.to_string()]);
    let mut connection = Connection::open(serving.address).expect("it listens");
    for (path, status, part) in [
        ("/", 200, "/metrics"),
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/metrics", 200, "tcptrace_build_info{version="),
        ("/nothing", 404, "not found"),
    ] {
        let answer = connection.get(path, &[]).expect("it answers");
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
    let open_metrics = connection
        .get(
            "/metrics",
            &["Accept: application/openmetrics-text;version=1.0.0"],
        )
        .expect("it answers");
    assert!(open_metrics.text().ends_with("# EOF\n"));
    let compressed = connection
        .get("/metrics", &["Accept-Encoding: gzip"])
        .expect("it answers");
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert_eq!(compressed.body[..2], [0x1f, 0x8b]);
    connection
        .send(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .expect("it reads");
    assert_eq!(connection.answer().expect("it answers").status, 405);
    serving.stop();
}

pub(super) fn hostile_clients_keep_nobody_out(netns: Netns) {
    const IDLE: usize = 1_000;
    files::allow(4 * IDLE as u64).expect("root may have as many files");
    let serving = Serving::start(&["-N", &netns.inode.to_string()]);
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| TcpStream::connect(serving.address).expect("it listens"))
        .collect();
    // Heads that never end.
    let slow: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = Connection::open(serving.address).expect("it listens");
            connection
                .send(b"GET /metrics HTTP/1.1\r\nX: ")
                .expect("it reads");
            connection
        })
        .collect();
    let began = Instant::now();
    let answer = http::get(serving.address, "/metrics", &[]).expect("it answers");
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for (sent, status) in [
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (vec![0xff; 1 << 10], 400),
        (
            [
                b"GET / HTTP/1.1\r\nX: ".as_slice(),
                &vec![b'x'; 64 << 10],
                b"\r\n\r\n",
            ]
            .concat(),
            431,
        ),
        (
            [
                b"GET / HTTP/1.1\r\n".as_slice(),
                &b"X: y\r\n".repeat(1_000),
                b"\r\n",
            ]
            .concat(),
            431,
        ),
    ] {
        let mut connection = Connection::open(serving.address).expect("it listens");
        // It may close before it has read everything, and resets the connection then.
        let answer = connection.send(&sent).and_then(|()| connection.answer());
        // What fits into the buffers of the sockets is read as a whole.
        let is_small = sent.len() <= 1 << 10;
        match answer {
            Ok(answer) => assert_eq!(
                answer.status,
                status,
                "{:?}",
                String::from_utf8_lossy(&sent[..20])
            ),
            Err(error) => assert!(
                !is_small
                    && matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                    ),
                "{error}"
            ),
        }
    }
    // Those with slow heads are cut off.
    for connection in slow {
        connection.wait_for_end().expect("the server ends it");
    }
    assert_eq!(
        http::get(serving.address, "/healthz", &[])
            .expect("it answers")
            .status,
        200
    );
    drop(idle);
    let messages = serving.stop();
    assert!(messages.contains(" 0 lost"), "{messages}");
}

pub(super) fn scrapes_during_a_flood_lose_nothing(netns: Netns) {
    const CONNECTIONS: u64 = 10_000;
    let serving = Serving::start(&["-N", &netns.inode.to_string(), "--buffer", "64M"]);
    let (listener, _) = listen();
    let is_over = AtomicBool::new(false);
    let scrapes = AtomicU64::new(0);
    let length = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(serving.address).expect("it listens");
                while !is_over.load(Ordering::Relaxed) {
                    let answer = connection.get("/metrics", &[]).expect("it answers");
                    assert_eq!(answer.status, 200);
                    scrapes.fetch_add(1, Ordering::Relaxed);
                    // Some hundreds a second altogether.
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let began = Instant::now();
        for _ in 0..CONNECTIONS {
            drop(pair(&listener));
        }
        is_over.store(true, Ordering::Relaxed);
        began.elapsed()
    });
    let scrapes = scrapes.load(Ordering::Relaxed);
    #[expect(clippy::cast_precision_loss, reason = "there are some thousands")]
    let is_often = scrapes as f64 > 20.0 * length.as_secs_f64();
    assert!(is_often, "{scrapes} scrapes in {length:?}");
    let port = listener.local_addr().expect("bound").port();
    let connected = format!("tcptrace_connects_total{{port=\"{port}\",outcome=\"connected\"}}");
    wait_for(&serving, &connected, CONNECTIONS);
    let served = serving.series();
    let collected = served.text("tcptrace_collection_duration_seconds");
    assert_eq!(served.count(&connected), CONNECTIONS);
    let messages = serving.stop();
    println!("{scrapes} scrapes in {length:?}; the last collection took {collected:?} s");
    assert!(messages.contains(" 0 lost"), "{messages}");
}
