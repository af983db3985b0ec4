//! Basic authentication. A check of a password takes a tenth of a second by design, so those that were right are
//! remembered, and others are checked one at a time, with a pause after each that was wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How long a check may wait for others.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the next check waits after a wrong password: who guesses keeps less than one processor busy.
const PAUSE: Duration = Duration::from_millis(250);

/// Passwords that are remembered to be right.
const REMEMBERED: usize = 64;

/// bcrypt reads this many bytes of a password.
const LONGEST: usize = 72;

/// Users and the bcrypt hashes of their passwords.
#[derive(Debug)]
pub(crate) struct Users {
    hashes: BTreeMap<String, String>,
    /// Digests of user and password that were right.
    right: Mutex<HashSet<[u8; 32]>>,
    checks: Semaphore,
}

impl Default for Users {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Users {
    pub(crate) fn new(hashes: BTreeMap<String, String>) -> Self {
        Self {
            hashes,
            right: Mutex::default(),
            checks: Semaphore::new(1),
        }
    }

    /// Whether the `Authorization` header has the name and password of a user, or there are no users.
    pub(super) async fn accept(&self, header: Option<&HeaderValue>) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some((name, password)) = header.and_then(credentials) else {
            return false;
        };
        let digest: [u8; 32] = Sha256::digest(format!("{}:{name}:{password}", name.len())).into();
        let is_known = |right: &HashSet<_>| right.contains(&digest);
        if is_known(&self.right.lock().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        self.check(&name, password, digest).await
    }

    async fn check(&self, name: &str, password: String, digest: [u8; 32]) -> bool {
        let Ok(Ok(permit)) = timeout(PATIENCE, self.checks.acquire()).await else {
            return false;
        };
        let known = self.hashes.get(name);
        // An unknown name takes as long as a wrong password: it is checked against somebody's.
        let Some(hash) = known.or_else(|| self.hashes.values().next()).cloned() else {
            return false;
        };
        let is_right = spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if known.is_some() && is_right.is_ok_and(|is_right| is_right) {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() < REMEMBERED {
                right.insert(digest);
            }
            return true;
        }
        sleep(PAUSE).await;
        drop(permit);
        false
    }
}

/// Name and password of RFC 7617.
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    (password.len() <= LONGEST).then(|| (name.to_owned(), password.to_owned()))
}
