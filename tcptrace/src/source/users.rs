//! The users of this host, from `/etc/passwd`: other sources need libraries that a static binary does not have.

use crate::lossy;

/// The ID of a user that is given by its ID or its name.
///
/// # Errors
/// What is wrong with it, and what would do.
pub(crate) fn id(word: &str) -> Result<u32, String> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let users = lossy::read("/etc/passwd").unwrap_or_default();
    named(word, &users).ok_or_else(|| {
        "unknown user: give a name that is in /etc/passwd, or a user ID as from `id -u NAME`".to_owned()
    })
}

/// Names of this host's users, as /etc/passwd lists them.
pub(crate) fn names() -> Vec<String> {
    let users = lossy::read("/etc/passwd").unwrap_or_default();
    let names = users.lines().filter_map(|line| line.split(':').next());
    names.map(str::to_owned).collect()
}

/// Name, password and ID come first in a line of passwd(5).
fn named(name: &str, users: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = (fields.next() == Some(name)).then(|| fields.nth(1))??;
        id.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_meant_by_name_or_id() {
        let users = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nbroken:x\n";
        assert_eq!(named("www-data", users), Some(33));
        assert_eq!(named("www", users), None);
        assert_eq!(named("broken", users), None);
        assert_eq!(id("33"), Ok(33));
        assert_eq!(id("root"), Ok(0));
        assert!(id("no-such-user").unwrap_err().contains("id -u"));
    }
}
