//! Ports in text by the names of their services.

use std::{borrow::Cow, collections::HashMap, net::Ipv4Addr};

/// Names of TCP services by port; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Services(HashMap<u16, String>);

impl Services {
    /// Reads services(5); of several names of a port the first counts.
    pub(crate) fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            if let (Some(name), Some((port, "tcp"))) =
                (words.next(), words.next().and_then(|word| word.split_once('/')))
                && let Ok(port) = port.parse()
            {
                names.entry(port).or_insert_with(|| name.to_owned());
            }
        }
        Self(names)
    }

    /// The text with names instead of the ports that follow an address, `10.0.0.1:443` or `[::1]:443`, and the word
    /// `port`. Blanks that follow give way, so that the next column stays in its place where there is room.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0.is_empty() {
            return text.into();
        }
        let mut all = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = rest[start..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(rest.len(), |length| start + length);
            all.push_str(&rest[..start]);
            let number = &rest[start..digits];
            rest = &rest[digits..];
            match number.parse().ok().and_then(|port: u16| self.0.get(&port)) {
                Some(name) if is_port(&all) => {
                    all.push_str(name);
                    let blanks = rest.len() - rest.trim_start_matches(' ').len();
                    if blanks > 1 {
                        let room = (number.len() + blanks).saturating_sub(name.len()).max(1);
                        all.extend(std::iter::repeat_n(' ', room));
                        rest = &rest[blanks..];
                    }
                }
                Some(_) | None => all.push_str(number),
            }
        }
        all.push_str(rest);
        all.into()
    }
}

/// Whether a number behind this text is a port.
fn is_port(before: &str) -> bool {
    if let Some(address) = before.strip_suffix(':') {
        return address.ends_with(']') || ends_with_ipv4(address);
    }
    before.ends_with("port ") || before.ends_with("ports ")
}

/// Whether a text ends with four numbers and dots between them. A time of day has none.
fn ends_with_ipv4(text: &str) -> bool {
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    text[before.len()..].parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Services {
        Services::parse(
            "# Network services\nssh 22/tcp\ndomain\t53/tcp\ndomain\t53/udp\nntp 123/udp\n\
             http\t\t80/tcp\t\twww\t\t# WorldWideWeb\nwww-other 80/tcp\npostgresql 5432/tcp\nbroken\n",
        )
    }

    #[test]
    fn a_port_behind_an_address_has_its_name() {
        let services = services();
        for (text, expected) in [
            ("10.0.0.1:80 → 10.0.0.2:4000", "10.0.0.1:http → 10.0.0.2:4000"),
            ("[2001:db8::1]:22", "[2001:db8::1]:ssh"),
            ("listens on port 53, too", "listens on port domain, too"),
            // Neither times, nor addresses, nor counts, nor ports of UDP.
            (
                "17:52:22 [::22]:9 22 sockets 10.0.0.22",
                "17:52:22 [::22]:9 22 sockets 10.0.0.22",
            ),
            ("10.0.0.1:123 80", "10.0.0.1:123 80"),
            ("名10.0.0.1:22", "名10.0.0.1:ssh"),
            ("", ""),
        ] {
            assert_eq!(services.apply(text), expected);
        }
        let unchanged = Services::default();
        assert!(matches!(unchanged.apply("10.0.0.1:80"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_next_column_keeps_its_place_where_there_is_room() {
        let services = services();
        assert_eq!(
            services.apply("10.0.0.1:5432      5ms"),
            "10.0.0.1:postgresql 5ms"
        );
        assert_eq!(services.apply("10.0.0.1:80    5ms"), "10.0.0.1:http  5ms");
        assert_eq!(services.apply("10.0.0.1:5432  5ms"), "10.0.0.1:postgresql 5ms");
        assert_eq!(services.apply("10.0.0.1:5432 5ms"), "10.0.0.1:postgresql 5ms");
    }
}
