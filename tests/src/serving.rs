//! A running `tcptrace serve`, and what it serves.

use crate::{
    command::{self, Running},
    http,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// Values by name and labels, as the text format writes them.
#[derive(Clone, Debug, Default)]
pub struct Series(BTreeMap<String, String>);

impl Series {
    /// Parses the text format.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a series has a value");
            (name.to_owned(), value.to_owned())
        });
        Self(series.collect())
    }

    /// The value of a series that counts; `None` if it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}")))
    }

    /// The same of one that has to be there.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The value as it is written.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The sum of a family that counts.
    #[must_use]
    pub fn sum(&self, family: &str) -> u64 {
        self.of(family).map(|(_, count)| count).sum()
    }

    /// Names and values of a family that counts.
    pub fn of(&self, family: &str) -> impl Iterator<Item = (&str, u64)> {
        let names = self.0.keys().map(String::as_str);
        let of_family = names.filter(move |name| name.split('{').next() == Some(family));
        of_family.map(|name| (name, self.count(name)))
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The process, which is stopped by SIGINT and killed on drop.
pub struct Serving {
    running: Running,
    pub address: SocketAddr,
    messages: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts it on a free port of 127.0.0.1, and returns when it has metrics.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self::run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// Runs it with exactly these arguments, and returns when it has metrics.
    #[must_use]
    pub fn run(arguments: &[impl AsRef<str>]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut running = Running::start(command::tcptrace(&arguments));
        let mut stderr = BufReader::new(running.stderr());
        let mut so_far = String::new();
        let address = loop {
            let before = so_far.len();
            let read = stderr.read_line(&mut so_far).expect("messages are text");
            assert!(read > 0, "it does not serve: {so_far}");
            if let Some((_, url)) = so_far[before..].split_once("metrics: ") {
                let address = url.split('/').nth(2).expect("a URL has a host");
                break address.parse().expect("an address and port");
            }
        };
        let messages = Arc::new(Mutex::new(so_far));
        let log = Arc::clone(&messages);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            running,
            address,
            messages,
            reader: Some(reader),
        }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// What it serves, in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let answer = http::get(self.address, "/metrics", &[]).expect("it answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    #[must_use]
    pub fn series(&self) -> Series {
        Series::parse(&self.text())
    }

    /// Its messages so far.
    #[must_use]
    pub fn messages(&self) -> String {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.clone()
    }

    /// Stops it, and returns its messages.
    #[expect(clippy::must_use_candidate, reason = "most callers only stop it")]
    pub fn stop(mut self) -> String {
        self.running.signal(Signal::SIGINT);
        let status = self.running.status();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        let messages = self.messages();
        assert!(status.success(), "{messages}");
        messages
    }
}
