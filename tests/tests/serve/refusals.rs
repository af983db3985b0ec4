//! What cannot be served is refused, with what it means and what to do.

use std::{fs, net::TcpListener};
use tcptrace_tests::{command, netns::Netns, user::Home};

pub(super) fn what_cannot_be_served_is_refused(_: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("our own folder");
        path.display().to_string()
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let taken = taken.local_addr().expect("bound").to_string();
    let config = file("serve.toml", "max-series = 3000\n\nlissten = \"127.0.0.1:1\"\n");
    let value = file("value.toml", "buffer = \"3M\"\n");
    let web = file("web.yml", "rate_limit:\n  interval: 1s\n");
    let no_key = file(
        "tls.yml",
        "tls_server_config:\n  cert_file: none.crt\n  key_file: none.key\n",
    );
    for (arguments, code, parts) in [
        (
            &["--listen", &taken][..],
            1,
            &["cannot listen on", "in use", "what to do: ", "--listen"][..],
        ),
        (
            &["--listen", "192.0.2.1:9105"],
            1,
            &["192.0.2.1:9105", "no interface", "what to do: "],
        ),
        (&["--listen", "localhost"], 2, &["--listen", "localhost"]),
        (&["--max-series", "10"], 2, &["--max-series", "2000 or more"]),
        (
            &["--config", "/nowhere/serve.toml"],
            2,
            &["--config", "/nowhere/serve.toml"],
        ),
        (&["--config", &config], 2, &["line 3", "lissten", "what to do: "]),
        (&["--config", &value], 2, &["--buffer", "3M"]),
        (&["--web-config", &web], 2, &["--web-config", "rate_limit"]),
        (&["--web-config", &no_key], 2, &["none.key", "what to do: "]),
    ] {
        let all = [&["serve", "--duration", "1"], arguments].concat();
        let output = command::run(command::tcptrace(&all));
        assert_eq!(output.code, Some(code), "{arguments:?}: {}", output.err);
        for part in parts {
            assert!(output.err.contains(part), "{arguments:?}: {}", output.err);
        }
    }
}

pub(super) fn without_privileges_it_says_which_are_missing(_: Netns) {
    let home = Home::new();
    let output = command::run(home.tcptrace(&[], &["serve", "--listen", "127.0.0.1:0", "--duration", "1"]));
    assert_eq!(output.code, Some(4), "{}", output.err);
    assert!(output.err.contains("CAP_BPF"), "{}", output.err);
}
