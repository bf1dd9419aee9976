//! Reads replies by the heads of their messages.

/// Rows up to this size are compared by value; longer ones are counted.
const SMALL_ROW: usize = 16;
const HEAD: usize = 5;

/// Where in a stream of messages we are, and what the reply has had so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    head: [u8; HEAD],
    filled: usize,
    left: usize,
    reply: Reply,
}

/// What a reply up to its `ReadyForQuery` or `CopyInResponse` was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its tags, runs of one tag taken together, as a number.
    pub(crate) tags: u64,
    /// Rows and `CopyData`.
    pub(crate) rows: u64,
    /// The bytes of all small rows, as a number.
    pub(crate) value: u64,
    last: u8,
}

impl Reply {
    /// A reply of these tags with so many rows, small ones with these bytes.
    pub(crate) fn of(tags: &[u8], rows: u64, value: &[u8]) -> Self {
        let mut reply = Self::default();
        for tag in tags {
            reply.begin(*tag);
        }
        reply.taste(value);
        Self { rows, ..reply }
    }

    /// Whether `ErrorResponse` is all that came before the end.
    pub(crate) fn is_error(&self) -> bool {
        self.tags == Self::of(b"EZ", 0, b"").tags
    }

    fn begin(&mut self, tag: u8) {
        match tag {
            // may come at any time and belong to no reply
            b'S' | b'N' | b'A' => return,
            b'D' | b'd' => self.rows += 1,
            _ => {}
        }
        if tag != self.last {
            self.tags = self.tags.wrapping_mul(257).wrapping_add(u64::from(tag));
        }
        self.last = tag;
    }

    fn taste(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.value = self.value.wrapping_mul(257).wrapping_add(u64::from(*byte) + 1);
        }
    }
}

impl Scan {
    /// Takes bytes as they came; each reply that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut ended: impl FnMut(Reply)) {
        loop {
            if self.left > 0 {
                bytes = self.skip_body(bytes);
                if self.left > 0 {
                    return;
                }
                // COPY FROM STDIN waits for its data
                if matches!(self.tag(), b'Z' | b'G') {
                    ended(std::mem::take(&mut self.reply));
                }
            }
            if bytes.is_empty() {
                return;
            }
            bytes = self.fill_head(bytes);
            if self.filled == HEAD {
                self.begin();
            }
        }
    }

    fn skip_body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
        if self.tag() == b'D' && self.head_length() <= SMALL_ROW {
            self.reply.taste(body);
        }
        self.left -= body.len();
        rest
    }

    fn fill_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = (HEAD - self.filled).min(bytes.len());
        let (taken, rest) = bytes.split_at(wanted);
        if let Some(part) = self.head.get_mut(self.filled..self.filled + wanted) {
            part.copy_from_slice(taken);
        }
        self.filled += wanted;
        rest
    }

    fn begin(&mut self) {
        self.filled = 0;
        self.left = self.head_length();
        self.reply.begin(self.tag());
    }

    fn tag(&self) -> u8 {
        let [tag, ..] = self.head;
        tag
    }

    fn head_length(&self) -> usize {
        let [_, a, b, c, d] = self.head;
        (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgpooler_test_support::wire::message;

    fn reply() -> Vec<u8> {
        let parts = [
            message(b'T', &[7; 27]),
            message(b'S', b"application_name\0x\0"),
            message(b'D', b"\0\x01\0\0\0\x011"),
            message(b'C', b"SELECT 1\0"),
            message(b'Z', b"I"),
        ];
        parts.concat()
    }

    fn expected() -> Reply {
        Reply::of(b"TDCZ", 1, b"\0\x01\0\0\0\x011")
    }

    #[test]
    fn a_reply_is_known_by_its_tags_and_its_value_however_it_is_split() {
        let two = [reply(), reply()].concat();
        for at in 0..=two.len() {
            let (mut scan, mut replies) = (Scan::default(), Vec::new());
            let (left, right) = two.split_at(at);
            scan.feed(left, |reply| replies.push(reply));
            scan.feed(right, |reply| replies.push(reply));
            assert_eq!(replies, [expected(), expected()], "split at {at}");
        }
    }

    #[test]
    fn another_value_another_count_and_an_error_are_other_replies() {
        assert_ne!(Reply::of(b"TDCZ", 1, b"\0\x01\0\0\0\x012"), expected());
        assert_ne!(Reply::of(b"TDCZ", 2, b"\0\x01\0\0\0\x011"), expected());
        let (mut scan, mut replies) = (Scan::default(), Vec::new());
        scan.feed(&[message(b'E', b"SERROR\0\0"), message(b'Z', b"I")].concat(), |reply| replies.push(reply));
        assert!(replies.first().is_some_and(Reply::is_error), "{replies:?}");
    }
}
