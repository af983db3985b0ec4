//! The attributes of the resource that OTLP describes: this host, and what the environment says about it.

use crate::{options::serve::otlp::decoded, owner::container::Location};
use nix::sys::utsname::uname;
use std::{env, fs};

/// Attributes by the semantic conventions. Those of `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` take precedence.
pub(super) fn attributes() -> Vec<(String, String)> {
    let mut own = vec![
        ("service.name", "tcptrace".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("os.type", "linux".to_owned()),
    ];
    if let Ok(system) = uname() {
        let host = system.nodename().to_string_lossy().into_owned();
        own.push(("service.instance.id", host.clone()));
        own.push(("host.name", host));
        own.push(("os.version", system.release().to_string_lossy().into_owned()));
    }
    let machine = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .find_map(|path| {
            let id = fs::read_to_string(path).ok()?;
            Some(id.trim().to_owned()).filter(|id| !id.is_empty())
        });
    own.extend(machine.map(|id| ("host.id", id)));
    let location = fs::read("/proc/self/cgroup")
        .ok()
        .and_then(|lines| Location::of_process(&lines));
    own.extend(
        location
            .and_then(|location| location.container)
            .map(|container| ("container.id", container.id)),
    );
    let given = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    merged(own, &given, env::var("OTEL_SERVICE_NAME").ok())
}

fn merged(own: Vec<(&str, String)>, given: &str, service: Option<String>) -> Vec<(String, String)> {
    let given = given.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())))
    });
    let mut attributes: Vec<(String, String)> = Vec::new();
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    let service = service
        .filter(|name| !name.is_empty())
        .map(|name| ("service.name".to_owned(), name));
    for (key, value) in own.chain(given).chain(service) {
        match attributes.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = value,
            None if key.is_empty() => {}
            None => attributes.push((key, value)),
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_takes_precedence() {
        let own = vec![
            ("service.name", "tcptrace".to_owned()),
            ("host.name", "web-1".to_owned()),
        ];
        let given = "k8s.node.name=node%201,host.name = other ,nonsense,=x";
        let attributes = merged(own, given, Some("edge".to_owned()));
        let attributes: Vec<(&str, &str)> = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            attributes,
            [
                ("service.name", "edge"),
                ("host.name", "other"),
                ("k8s.node.name", "node 1")
            ]
        );
    }
}
