//! What the rows of a statement look like.
//!
//! Drivers remember the description of a statement and read rows by it. PostgreSQL lets a prepared statement fail when its
//! rows would look different ("cached plan must not change result type"). We prepare a statement anew on other server
//! connections, where nothing would fail; so the shapes are compared.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::wire::Reader;

/// A hash of names and types of all columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape(u64);

impl Shape {
    /// Of a statement without rows.
    pub(super) const NONE: Self = Self(0);

    /// From the body of a RowDescription. `None`: it is not of that form.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let mut hasher = SipHasher13::new();
        for _ in 0..reader.i16().ok()? as u16 {
            hasher.write(reader.string().ok()?);
            hasher.write_u8(0);
            let (_table, _column) = (reader.u32().ok()?, reader.i16().ok()?);
            hasher.write_u32(reader.u32().ok()?);
            let _length = reader.i16().ok()?;
            hasher.write_u32(reader.u32().ok()?);
            let _format = reader.i16().ok()?;
        }
        Some(Self(hasher.finish() | 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(columns: &[(&str, u32)]) -> Vec<u8> {
        let mut body = (columns.len() as i16).to_be_bytes().to_vec();
        for (name, of_type) in columns {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&[0; 7]);
            body.extend_from_slice(&of_type.to_be_bytes());
            body.extend_from_slice(&[0; 8]);
        }
        body
    }

    #[test]
    fn names_and_types_make_the_shape() {
        let shape = |columns| Shape::of(&description(columns)).unwrap();
        assert_eq!(shape(&[("a", 23)]), shape(&[("a", 23)]));
        for other in [&[("a", 25)][..], &[("b", 23)], &[("a", 23), ("b", 23)], &[]] {
            assert_ne!(shape(&[("a", 23)]), shape(other));
        }
        assert_ne!(shape(&[]), Shape::NONE, "no columns are not no rows");
        assert_eq!(Shape::of(&[0, 1, b'a']), None);
    }
}
