//! PostgreSQL's old password hash. Weak, still asked for by clusters that were set up long ago.

use std::fmt::Write as _;

use md5::{Digest, Md5};

/// What PostgreSQL stores: `md5` and the hash of password and user.
pub fn stored(password: &str, user: &str) -> String {
    digest(&[password.as_bytes(), user.as_bytes()])
}

/// What goes into PasswordMessage: the hash of the stored hash (with its `md5`) and the salt.
pub fn response(stored: &str, salt: [u8; 4]) -> String {
    let stored = stored.strip_prefix("md5").unwrap_or(stored);
    digest(&[stored.as_bytes(), &salt])
}

fn digest(parts: &[&[u8]]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    let mut text = "md5".to_owned();
    for byte in md5.finalize() {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_postgresqls() {
        // from `postgres-protocol`: authentication::md5_hash(b"md5_user", b"password", [0x2a, 0x3d, 0x8f, 0xe0])
        let stored = stored("password", "md5_user");
        assert_eq!(response(&stored, [0x2a, 0x3d, 0x8f, 0xe0]), "md562af4dd09bbb41884907a838a3233294");
    }
}
