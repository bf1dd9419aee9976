//! Distinguished encoding rules, as much as certificates need: every read is bounded and can fail.

use super::MalformedCertificate;

/// Tags of the elements that are read.
pub(super) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]` in front of a certificate's serial number.
    pub(crate) const VERSION: u8 = 0xa0;
    /// `[0]` among the parameters of RSASSA-PSS.
    pub(crate) const PSS_HASH: u8 = 0xa0;
    /// `[3]` at a certificate's end.
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// What is left of a run of elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// With tag and length.
    pub(super) whole: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements in it.
    pub(super) fn contents(&self) -> Der<'a> {
        Der(self.value)
    }
}

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next element.
    pub(super) fn next(&mut self) -> Result<Element<'a>, MalformedCertificate> {
        let (tag, length, header) = header(self.0).ok_or(MalformedCertificate)?;
        let end = header.checked_add(length).ok_or(MalformedCertificate)?;
        let (whole, rest) = self.0.split_at_checked(end).ok_or(MalformedCertificate)?;
        self.0 = rest;
        Ok(Element { tag, whole, value: whole.get(header..).unwrap_or_default() })
    }

    /// Takes the next element, which must have this tag.
    pub(super) fn read(&mut self, tag: u8) -> Result<Element<'a>, MalformedCertificate> {
        self.next_if(tag)?.ok_or(MalformedCertificate)
    }

    /// Takes the next element if it has this tag.
    pub(super) fn next_if(&mut self, tag: u8) -> Result<Option<Element<'a>>, MalformedCertificate> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    pub(super) fn skip_if(&mut self, tag: u8) -> Result<(), MalformedCertificate> {
        self.next_if(tag).map(drop)
    }
}

/// Tag, length of the value, and length of both before it.
fn header(input: &[u8]) -> Option<(u8, usize, usize)> {
    let (tag, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *first < 0x80 {
        return Some((*tag, usize::from(*first), 2));
    }
    let bytes = usize::from(*first & 0x7f);
    if !(1..=4).contains(&bytes) {
        return None;
    }
    let length = rest.get(..bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some((*tag, length, 2 + bytes))
}
