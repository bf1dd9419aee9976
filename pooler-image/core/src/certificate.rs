//! What we read of an X.509 certificate ourselves (RFC 5280): who it is for, until when, and its hash for channel
//! binding. Whether it is to be trusted is the TLS library's concern.

mod der;

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use der::{Der, Element, tag};

/// A certificate, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    whole: &'a [u8],
    signed_with: Option<Hash>,
    /// Its key, as `SubjectPublicKeyInfo` in DER.
    pub key: &'a [u8],
    /// The first common name of its subject.
    pub common_name: Option<String>,
    /// The last second of its validity, since 1970.
    pub not_after: i64,
    /// Whether it says which names it is for. If so, the common name does not count.
    pub names: Names,
}

/// Where the names of a certificate stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// In the extension subjectAltName.
    Extension,
    /// There is no such extension: old certificates have the host's name as common name.
    CommonNameOnly,
}

/// Not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed X.509 certificate")]
pub struct MalformedCertificate;

/// The hash that a signature is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate in DER.
    pub fn parse(der: &'a [u8]) -> Result<Self, MalformedCertificate> {
        let mut certificate = Der(der).read(tag::SEQUENCE)?.contents();
        let mut signed = certificate.read(tag::SEQUENCE)?.contents();
        let signature = certificate.read(tag::SEQUENCE)?;
        signed.skip_if(tag::VERSION)?;
        signed.read(tag::INTEGER)?;
        signed.read(tag::SEQUENCE)?; // the algorithm again
        signed.read(tag::SEQUENCE)?; // the issuer
        let mut validity = signed.read(tag::SEQUENCE)?.contents();
        validity.next()?;
        let not_after = time(&validity.next()?)?;
        let subject = signed.read(tag::SEQUENCE)?;
        let key = signed.read(tag::SEQUENCE)?;
        Ok(Self {
            whole: der,
            signed_with: signature_hash(signature.contents())?,
            key: key.whole,
            common_name: common_name(subject.contents())?,
            not_after,
            names: names(signed)?,
        })
    }

    /// The channel-binding data `tls-server-end-point` (RFC 5929): the hash of the whole certificate by the algorithm of
    /// its signature, SHA-256 where that is MD5 or SHA-1. None where the signature has no such algorithm (Ed25519).
    pub fn end_point(&self) -> Option<Vec<u8>> {
        let whole = self.whole;
        self.signed_with.map(|hash| match hash {
            Hash::Sha224 => Sha224::digest(whole).to_vec(),
            Hash::Sha256 => Sha256::digest(whole).to_vec(),
            Hash::Sha384 => Sha384::digest(whole).to_vec(),
            Hash::Sha512 => Sha512::digest(whole).to_vec(),
        })
    }

    /// Whether the common name is that of a host, as libpq compares them: without case, and `*.` stands for one label.
    pub fn is_named(&self, host: &str) -> bool {
        let Some(name) = &self.common_name else { return false };
        if name.eq_ignore_ascii_case(host) {
            return true;
        }
        let Some(tail) = name.strip_prefix('*').filter(|tail| tail.starts_with('.') && tail.len() > 1) else {
            return false;
        };
        host.find('.').and_then(|dot| host.get(dot..)).is_some_and(|rest| rest.eq_ignore_ascii_case(tail))
    }
}

/// 1.2.840.113549.1.1: PKCS #1, without its last number.
const PKCS_1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4: signatures with ECDSA.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2: hashes of NIST.
const NIST_HASHES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

fn signature_hash(mut algorithm: Der<'_>) -> Result<Option<Hash>, MalformedCertificate> {
    let id = algorithm.read(tag::OBJECT_IDENTIFIER)?.value;
    if let Some(number) = id.strip_prefix(PKCS_1) {
        return Ok(match number {
            // MD5 and SHA-1 are replaced
            [4 | 5 | 11] => Some(Hash::Sha256),
            [10] => pss_hash(algorithm)?,
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [14] => Some(Hash::Sha224),
            _ => None,
        });
    }
    Ok(match id.strip_prefix(ECDSA) {
        Some([1] | [3, 2]) => Some(Hash::Sha256),
        Some([3, 1]) => Some(Hash::Sha224),
        Some([3, 3]) => Some(Hash::Sha384),
        Some([3, 4]) => Some(Hash::Sha512),
        _ => None,
    })
}

/// RSASSA-PSS has its hash among its parameters; SHA-1 unless said.
fn pss_hash(mut parameters: Der<'_>) -> Result<Option<Hash>, MalformedCertificate> {
    let mut parameters = parameters.read(tag::SEQUENCE)?.contents();
    let Some(hash) = parameters.next_if(tag::PSS_HASH)? else { return Ok(Some(Hash::Sha256)) };
    let mut hash = hash.contents().read(tag::SEQUENCE)?.contents();
    Ok(match hash.read(tag::OBJECT_IDENTIFIER)?.value.strip_prefix(NIST_HASHES) {
        Some([1]) => Some(Hash::Sha256),
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        Some([4]) => Some(Hash::Sha224),
        _ => None,
    })
}

fn common_name(mut subject: Der<'_>) -> Result<Option<String>, MalformedCertificate> {
    while !subject.is_empty() {
        let mut set = subject.read(tag::SET)?.contents();
        while !set.is_empty() {
            let mut attribute = set.read(tag::SEQUENCE)?.contents();
            if attribute.read(tag::OBJECT_IDENTIFIER)?.value == COMMON_NAME {
                return Ok(text(&attribute.next()?));
            }
        }
    }
    Ok(None)
}

/// A name with a zero byte is none: it could be read in two ways (CVE-2009-4034).
fn text(element: &Element<'_>) -> Option<String> {
    let text = match element.tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING | tag::TELETEX_STRING => {
            String::from_utf8(element.value.to_vec()).ok()?
        }
        tag::BMP_STRING => {
            let units = element
                .value
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0u16, |unit, byte| unit << 8 | u16::from(*byte)));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()?
        }
        _ => return None,
    };
    (!text.contains('\0')).then_some(text)
}

/// What is behind the key: unique identifiers, extensions.
fn names(mut rest: Der<'_>) -> Result<Names, MalformedCertificate> {
    while !rest.is_empty() {
        let element = rest.next()?;
        if element.tag != tag::EXTENSIONS {
            continue;
        }
        let mut extensions = element.contents().read(tag::SEQUENCE)?.contents();
        while !extensions.is_empty() {
            let mut extension = extensions.read(tag::SEQUENCE)?.contents();
            if extension.read(tag::OBJECT_IDENTIFIER)?.value == SUBJECT_ALT_NAME {
                return Ok(Names::Extension);
            }
        }
    }
    Ok(Names::CommonNameOnly)
}

/// `UTCTime` (`YYMMDDHHMMSSZ`, 1950 to 2049) or `GeneralizedTime` (`YYYYMMDDHHMMSSZ`), in seconds since 1970.
fn time(element: &Element<'_>) -> Result<i64, MalformedCertificate> {
    let digits = element.value.strip_suffix(b"Z").ok_or(MalformedCertificate)?;
    let year_digits = match (element.tag, digits.len()) {
        (tag::UTC_TIME, 12) => 2,
        (tag::GENERALIZED_TIME, 14) => 4,
        _ => return Err(MalformedCertificate),
    };
    let (year, rest) = digits.split_at_checked(year_digits).ok_or(MalformedCertificate)?;
    let year = match (number(year)?, year_digits) {
        (year, 4) => year,
        (year, _) if year < 50 => 2000 + year,
        (year, _) => 1900 + year,
    };
    let mut parts = [0; 5];
    for (part, digits) in parts.iter_mut().zip(rest.chunks_exact(2)) {
        *part = number(digits)?;
    }
    let [month, day, hour, minute, second] = parts;
    Ok(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Result<i64, MalformedCertificate> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + i64::from(digit - b'0')),
        _ => Err(MalformedCertificate),
    })
}

/// Days from 1970-01-01; years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 1
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(2024, 2, 29), 19_782);
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let certificate = |name: &str| Certificate {
            whole: &[],
            signed_with: None,
            key: &[],
            common_name: Some(name.to_owned()),
            not_after: 0,
            names: Names::CommonNameOnly,
        };
        assert!(certificate("db.example.com").is_named("DB.example.com"));
        assert!(certificate("*.example.com").is_named("db.example.com"));
        for (name, host) in
            [("*.example.com", "a.b.example.com"), ("*.example.com", "example.com"), ("*", "db")]
        {
            assert!(!certificate(name).is_named(host), "{name} {host}");
        }
    }
}
