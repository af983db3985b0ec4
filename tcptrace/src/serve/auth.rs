//! Basic authentication. A check of a password takes a tenth of a second by design, so those that were right are
//! remembered, and others are checked one at a time, with a pause after each that was wrong. Few may wait for that, so that
//! whoever guesses keeps out only those whose passwords have not been checked yet.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How long a check may wait for others.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a wrong password, so that guesses take less than one processor.
const PAUSE: Duration = Duration::from_millis(250);

/// Clients that may wait for a check at a time, or for its pause.
const WAITERS: usize = 8;

/// Passwords that are remembered to be right.
const REMEMBERED: usize = 64;

/// bcrypt reads this many bytes of a password.
const LONGEST: usize = 72;

/// What a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Granted,
    Refused,
    /// Too many clients wait for a check of their passwords.
    Busy,
}

/// Users and the bcrypt hashes of their passwords.
#[derive(Debug)]
pub(crate) struct Users {
    hashes: BTreeMap<String, String>,
    /// Digests of user and password that were right.
    right: Mutex<HashSet<[u8; 32]>>,
    checks: Arc<Semaphore>,
    waiters: Semaphore,
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
            checks: Arc::new(Semaphore::new(1)),
            waiters: Semaphore::new(WAITERS),
        }
    }

    /// Checks that the `Authorization` header has the name and password of a user, if there are users.
    pub(super) async fn check(&self, header: Option<&HeaderValue>) -> Access {
        if self.hashes.is_empty() {
            return Access::Granted;
        }
        let Some((name, password)) = header.and_then(credentials) else {
            return Access::Refused;
        };
        let digest: [u8; 32] = Sha256::digest(format!("{}:{name}:{password}", name.len())).into();
        let is_known = |right: &HashSet<_>| right.contains(&digest);
        if is_known(&self.right.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Access::Granted;
        }
        let Ok(_waiter) = self.waiters.try_acquire() else {
            return Access::Busy;
        };
        self.check_password(&name, password, digest).await
    }

    async fn check_password(&self, name: &str, password: String, digest: [u8; 32]) -> Access {
        let Ok(Ok(permit)) = timeout(PATIENCE, Arc::clone(&self.checks).acquire_owned()).await else {
            return Access::Busy;
        };
        let known = self.hashes.get(name);
        // An unknown name takes as long as a wrong password: it is checked against somebody's.
        let Some(hash) = known.or_else(|| self.hashes.values().next()).cloned() else {
            return Access::Refused;
        };
        let is_known = known.is_some();
        // In a task of its own: a client that goes away does not cut the pause short.
        let check = tokio::spawn(async move {
            let verified = spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
            let is_right = is_known && verified.unwrap_or(false);
            if !is_right {
                sleep(PAUSE).await;
            }
            drop(permit);
            is_right
        });
        if !check.await.unwrap_or(false) {
            return Access::Refused;
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() < REMEMBERED {
            right.insert(digest);
        }
        Access::Granted
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The header of a user's password.
    pub(in super::super) fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_guesses_does_not_keep_out_who_was_let_in() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Users::new([("prometheus".to_owned(), hash)].into());
        let header = |text: &str| HeaderValue::from_str(&basic(text)).unwrap();
        let right = header("prometheus:secret");
        assert_eq!(users.check(Some(&right)).await, Access::Granted);
        // A check that does not end, and as many as may wait for it.
        let held = Arc::clone(&users.checks).acquire_owned().await.unwrap();
        let guesses: Vec<HeaderValue> = (0..WAITERS)
            .map(|number| header(&format!("prometheus:{number}")))
            .collect();
        let mut waiting: Vec<_> = guesses
            .iter()
            .map(|guess| Box::pin(users.check(Some(guess))))
            .collect();
        for guess in &mut waiting {
            assert!(timeout(Duration::ZERO, guess).await.is_err());
        }
        let one_more = header("prometheus:one more");
        assert_eq!(users.check(Some(&one_more)).await, Access::Busy);
        assert_eq!(users.check(None).await, Access::Refused);
        assert_eq!(users.check(Some(&right)).await, Access::Granted);
        drop((waiting, held));
        assert_eq!(users.check(Some(&one_more)).await, Access::Refused);
    }
}
