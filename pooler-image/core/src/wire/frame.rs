//! Type byte and length of every message after the startup.

/// Bytes of a [`Header`] on the wire.
pub const HEADER_LENGTH: usize = 5;

/// The longest message that is let through; PostgreSQL itself stops just below 1 GiB.
pub const MAX_LENGTH: u32 = 1 << 30;

/// The front of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// The type byte; see [`frontend`](super::frontend) and [`backend`](super::backend).
    pub tag: u8,
    /// The length as on the wire: with itself, without the type byte; 4 to [`MAX_LENGTH`].
    pub len: u32,
}

/// A header that no PostgreSQL would send; the connection has lost its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message of type 0x{tag:02x} has the impossible length {len}")]
pub struct FrameError {
    /// The type byte.
    pub tag: u8,
    /// The length as it was sent.
    pub len: u32,
}

impl Header {
    /// Reads the header in front of `input`; `None`: more bytes are needed.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&[tag, a, b, c, d]) = input.first_chunk::<HEADER_LENGTH>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]);
        if (4..=MAX_LENGTH).contains(&len) {
            Ok(Some(Self { tag, len }))
        } else {
            Err(FrameError { tag, len })
        }
    }

    /// Bytes of the whole message, type byte included.
    pub const fn total(self) -> usize {
        self.len as usize + 1
    }

    /// Bytes behind the header.
    pub const fn body_len(self) -> usize {
        (self.len as usize).saturating_sub(4)
    }
}

/// How far the whole messages of this type reach that `input` begins with. Rows come by the million.
pub fn run_of(tag: u8, input: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = input.get(at..)
        && let Ok(Some(header)) = Header::parse(rest)
        && header.tag == tag
        && header.total() <= rest.len()
    {
        at += header.total();
    }
    at
}

/// Header, body, and what follows the message.
pub type Split<'a> = (Header, &'a [u8], &'a [u8]);

/// Splits the first whole message off `input`: header, body and what follows; `None`: more bytes are needed.
///
/// `limit` bounds the length for places where a peer is not yet trusted with a large message.
pub fn split_message(input: &[u8], limit: u32) -> Result<Option<Split<'_>>, FrameError> {
    let Some(header) = Header::parse(input)? else { return Ok(None) };
    if header.len > limit {
        return Err(FrameError { tag: header.tag, len: header.len });
    }
    let Some((message, rest)) = input.split_at_checked(header.total()) else { return Ok(None) };
    Ok(message.get(HEADER_LENGTH..).map(|body| (header, body, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_five_bytes_ask_for_more() {
        for length in 0..HEADER_LENGTH {
            assert_eq!(Header::parse(&b"Q\0\0\0\x04"[..length]), Ok(None));
        }
    }

    #[test]
    fn a_length_below_four_or_above_one_gibibyte_is_refused() {
        for len in [0, 1, 3, MAX_LENGTH + 1, 0x8000_0000, u32::MAX] {
            let [a, b, c, d] = len.to_be_bytes();
            assert_eq!(Header::parse(&[b'Q', a, b, c, d]), Err(FrameError { tag: b'Q', len }));
        }
    }

    #[test]
    fn the_length_counts_itself_but_not_the_type_byte() {
        let header = Header { tag: b'Z', len: 5 };
        assert_eq!(Header::parse(b"Z\0\0\0\x05I"), Ok(Some(header)));
        assert_eq!((header.total(), header.body_len()), (6, 1));
    }

    #[test]
    fn a_run_ends_before_another_type_a_cut_message_and_an_impossible_length() {
        let row = b"D\0\0\0\x06ab";
        for (end, whole) in
            [(&b""[..], 2), (b"Z\0\0\0\x05I", 2), (&row[..6], 2), (b"D\0\0\0\x03", 2), (row, 3)]
        {
            let input = [row, row, end].concat();
            assert_eq!(run_of(b'D', &input), whole * row.len(), "{end:?}");
        }
    }

    #[test]
    fn a_message_is_split_off_only_when_it_is_whole() {
        assert_eq!(split_message(b"Z\0\0\0\x05", 100), Ok(None));
        assert_eq!(
            split_message(b"Z\0\0\0\x05IX", 100),
            Ok(Some((Header { tag: b'Z', len: 5 }, &b"I"[..], &b"X"[..])))
        );
        assert!(split_message(b"Z\0\0\0\x05I", 4).is_err());
    }
}
