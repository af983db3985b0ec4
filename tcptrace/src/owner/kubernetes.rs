//! Names of Kubernetes' pods and containers, from what the node's runtime and kubelet write down. Pure: knows no file. What
//! could not be a name of Kubernetes is none, whoever wrote it.

use hashbrown::HashMap;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The name of a container, or of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// `None` of a pod, and of the container that holds its namespaces.
    pub(crate) container: Option<String>,
}

/// The names that were found.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By the id of the container.
    pub(crate) containers: HashMap<String, Name>,
    /// By the uid of the pod.
    pub(crate) pods: HashMap<String, Name>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Name {
    /// From the `config.json` of a container, by the annotations of containerd or CRI-O.
    pub(crate) fn of_config(json: &[u8]) -> Option<Self> {
        let Config { annotations } = serde_json::from_slice(json).ok()?;
        let first = |keys: [&str; 2]| keys.iter().find_map(|key| annotations.get(*key));
        let namespace = first([
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.pod.namespace",
        ])?;
        let pod = first(["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"])?;
        let kind = first([
            "io.kubernetes.cri.container-type",
            "io.kubernetes.cri-o.ContainerType",
        ])?;
        let container = first(["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]);
        Self::checked(
            namespace,
            pod,
            container.filter(|_| kind == "container").map(String::as_str),
        )
    }

    /// Id and name of the container of a link in `/var/log/containers`: `POD_NAMESPACE_CONTAINER-ID.log`.
    pub(crate) fn of_log(link: &str) -> Option<(String, Self)> {
        let (rest, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
        let mut parts = rest.split('_');
        let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self::checked(namespace, pod, Some(container))?;
        (parts.next().is_none()).then(|| (id.to_owned(), name))
    }

    /// Uid and name of the pod of a folder in `/var/log/pods`: `NAMESPACE_POD_UID`.
    pub(crate) fn of_folder(folder: &str) -> Option<(String, Self)> {
        let mut parts = folder.split('_');
        let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self::checked(namespace, pod, None)?;
        (parts.next().is_none()).then(|| (uid.to_owned(), name))
    }

    fn checked(namespace: &str, pod: &str, container: Option<&str>) -> Option<Self> {
        let is_known = is_label(namespace) && is_subdomain(pod) && container.is_none_or(is_label);
        is_known.then(|| Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.map(str::to_owned),
        })
    }
}

/// A label of RFC 1123 in lower case, as namespaces and containers are named.
fn is_label(word: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&word.len())
        && word.bytes().all(is_inner)
        && !word.starts_with('-')
        && !word.ends_with('-')
}

/// Such labels with dots between them, as pods are named.
fn is_subdomain(word: &str) -> bool {
    word.len() <= 253 && word.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(namespace: &str, pod: &str, container: Option<&str>) -> Name {
        Name {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.map(str::to_owned),
        }
    }

    #[test]
    fn containerd_and_cri_o_write_down_the_same() {
        let containerd = br#"{"ociVersion": "1.2.0", "process": {"env": ["A=B"]}, "annotations": {
            "io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-name": "shop-7d4b9c-x2x", "io.kubernetes.cri.sandbox-namespace": "prod"}}"#;
        let crio = br#"{"annotations": {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "shop-7d4b9c-x2x",
            "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.namespace": "prod"}}"#;
        let expected = Some(name("prod", "shop-7d4b9c-x2x", Some("web")));
        assert_eq!(Name::of_config(containerd), expected);
        assert_eq!(Name::of_config(crio), expected);
        // CRI-O calls the container of a sandbox POD.
        let sandbox =
            br#"{"annotations": {"io.kubernetes.container.name": "POD", "io.kubernetes.pod.name": "shop",
            "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.pod.namespace": "prod"}}"#;
        assert_eq!(Name::of_config(sandbox), Some(name("prod", "shop", None)));
    }

    #[test]
    fn logs_name_what_wrote_them() {
        let (id, of_log) = Name::of_log("shop-7d4b9c-x2x_prod_web-front-c0de12.log").expect("it is one");
        assert_eq!(
            (id.as_str(), Some(of_log)),
            ("c0de12", Some(name("prod", "shop-7d4b9c-x2x", Some("web-front"))))
        );
        let (uid, of_folder) = Name::of_folder("kube-system_etcd-node.1_0123abcd").expect("it is one");
        assert_eq!(
            (uid.as_str(), Some(of_folder)),
            ("0123abcd", Some(name("kube-system", "etcd-node.1", None)))
        );
        for other in [
            "",
            "a_b.log",
            "a_b_c_d-0.log",
            "a_b_c-0",
            "_b_c-0.log",
            "a_B_c-0.log",
        ] {
            assert_eq!(Name::of_log(other), None, "{other}");
        }
        for other in ["", "a", "a_b", "a_b_c_d", "a_..._c", "A_b_c"] {
            assert_eq!(Name::of_folder(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for annotations in [
            r#""io.kubernetes.pod.namespace": "prod\n", "io.kubernetes.pod.name": "shop""#,
            r#""io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.name": "\u001b[31m""#,
            r#""io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.name": """#,
            r#""io.kubernetes.pod.namespace": 7, "io.kubernetes.pod.name": "shop""#,
            r#""io.kubernetes.pod.name": "shop""#,
        ] {
            let json = format!(
                r#"{{"annotations": {{"io.kubernetes.cri-o.ContainerType": "sandbox", {annotations}}}}}"#
            );
            assert_eq!(Name::of_config(json.as_bytes()), None, "{json}");
        }
        for json in [
            "",
            "[]",
            "{}",
            "{\"annotations\": null}",
            "{\"annotations\": {",
            "\u{0}",
        ] {
            assert_eq!(Name::of_config(json.as_bytes()), None, "{json}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Name::of_config(deep.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn whatever_is_found_can_be_a_name(text in "\\PC{0,80}") {
            for name in [Name::of_log(&text), Name::of_folder(&text)].into_iter().flatten() {
                prop_assert!(is_label(&name.1.namespace) && is_subdomain(&name.1.pod));
            }
        }
    }
}
