//! The tar format (POSIX ustar), as much of it as a reproducible image needs: files, folders, no times.

use anyhow::{Result, ensure};

const BLOCK: usize = 512;

/// A tar archive under construction, in memory.
#[derive(Debug, Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

/// What the header says of an entry beyond its name.
struct Entry {
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    size: usize,
}

impl Tar {
    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
        self.header(path, &Entry { kind: b'0', mode, owner, size: content.len() })?;
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
        self.header(&format!("{path}/"), &Entry { kind: b'5', mode, owner, size: 0 })
    }

    /// Ends the archive with its two empty blocks.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn header(&mut self, path: &str, entry: &Entry) -> Result<()> {
        let (prefix, name) = split(path)?;
        // seven octal digits
        ensure!(
            entry.owner.0.max(entry.owner.1) < 1 << 21,
            "the owner of {path} is a number too large for tar"
        );
        // eleven octal digits
        ensure!(entry.size < 1 << 33, "{path} is larger than 8 GiB");
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{:07o}", entry.mode & 0o7777));
        put(108, &format!("{:07o}", entry.owner.0));
        put(116, &format!("{:07o}", entry.owner.1));
        put(124, &format!("{:011o}", entry.size));
        put(136, "00000000000");
        put(148, "        ");
        put(257, "ustar\u{0}00");
        put(345, prefix);
        header[156] = entry.kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        Ok(())
    }
}

/// A long path is kept in two fields, of 155 and 100 bytes, divided at a slash.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    let fits = |at: &usize| *at <= 155 && path.len() - at - 1 <= 100 && at + 1 < path.len();
    let at = path.match_indices('/').map(|(at, _)| at).find(fits);
    ensure!(at.is_some(), "path {path:?} is longer than tar allows");
    let at = at.unwrap_or_default();
    Ok((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_and_the_end_are_whole_blocks() {
        let mut tar = Tar::default();
        tar.file("a", b"12345", 0o644, (0, 0)).unwrap();
        assert_eq!(tar.finish().len(), 4 * BLOCK);
    }

    #[test]
    fn a_long_path_is_divided_at_a_slash() {
        let path = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let (prefix, name) = split(&path).unwrap();
        assert_eq!((prefix.len(), name.len()), (90, 90));
        assert!(split(&"x".repeat(101)).is_err());
    }
}
