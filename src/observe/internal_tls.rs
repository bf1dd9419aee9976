//! What the pods of one `PgPooler` and the operator know each other by: an authority of their own, which has signed one
//! certificate and then lost its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp, ToSpan as _};
use pgpooler_config::INTERNAL_SERVER_NAME;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::names;
use crate::plan::facts::{Hidden, InternalTls};

/// How long a certificate is good for.
const YEARS: i16 = 10;
/// One that ends sooner is made anew: pods that start with it must have their time.
const LEFT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Clocks of pods may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// What is in the internal Secret, whatever it is.
pub fn read(data: &BTreeMap<String, ByteString>) -> Option<InternalTls> {
    let text = |key| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(InternalTls {
        ca: text(names::INTERNAL_CA_KEY)?,
        certificate: text(names::INTERNAL_CERT_KEY)?,
        key: Hidden(text(names::INTERNAL_KEY_KEY)?),
    })
}

/// Whether everything belongs together, and will for a while.
pub fn will_do(known: &InternalTls, now: Timestamp) -> bool {
    verified(known, now + LEFT).is_some()
}

/// A new authority with its certificate. Good from yesterday on, for ten years.
pub fn make(now: Timestamp) -> Result<InternalTls, rcgen::Error> {
    let mut authority = params(now, "pgpooler internal CA", Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // ECDSA P-256, both of them
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let leaf = params(now, INTERNAL_SERVER_NAME, vec![INTERNAL_SERVER_NAME.to_owned()])?;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?.pem();
    Ok(InternalTls { ca, certificate, key: Hidden(key.serialize_pem()) })
}

/// What is new, with the authority of before behind its own: pods that have not heard of it yet can still be reached, and
/// reach each other.
#[must_use]
pub fn succeed(new: InternalTls, before: Option<&InternalTls>) -> InternalTls {
    let first = |before: &InternalTls| {
        let end = "-----END CERTIFICATE-----";
        let length = before.ca.find(end)? + end.len();
        before.ca.get(..length).map(str::to_owned)
    };
    match before.and_then(first) {
        Some(old) => InternalTls { ca: format!("{}{old}\n", new.ca), ..new },
        None => new,
    }
}

fn params(now: Timestamp, name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let first = (now - SKEW).to_zoned(TimeZone::UTC).date();
    // dates do not go on for ever; what ends too soon is seen by `will_do`
    let last = first.saturating_add(YEARS.years());
    let time = |date: k8s_openapi::jiff::civil::Date| {
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    (params.not_before, params.not_after) = (time(first), time(last));
    Ok(params)
}

/// As a client would check it at that time, and that the key is the certificate's.
fn verified(InternalTls { ca, certificate, key }: &InternalTls, at: Timestamp) -> Option<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).ok()?).ok()?;
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    let key = PrivateKeyDer::from_pem_slice(key.0.as_bytes()).ok()?;
    CertifiedKey::from_der(vec![leaf.clone()], key, &provider).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::try_from(INTERNAL_SERVER_NAME).ok()?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.as_second().try_into().ok()?));
    verifier.verify_server_cert(&leaf, &[], &name, &[], at).ok().map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn days(count: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * count)
    }

    #[test]
    fn what_is_made_will_do_until_a_month_before_its_end() {
        let made = make(now()).unwrap();
        for (after, expected) in [
            (days(0), true),
            (days(9 * 365), true),
            (days(3610), true),
            (days(3630), false),
            (days(4000), false),
        ] {
            assert_eq!(will_do(&made, now() + after), expected, "{after}");
        }
        assert!(verified(&made, now() - days(2)).is_none(), "not yet");
        assert!(verified(&made, now() - SignedDuration::from_hours(20)).is_some(), "a clock that is behind");
    }

    #[test]
    fn a_successor_brings_the_authority_of_before_and_no_older_one() {
        let [first, second, third] = [0; 3].map(|_| make(now()).unwrap());
        let one = succeed(second.clone(), Some(&first));
        assert!(will_do(&one, now()));
        assert!(one.ca.starts_with(&second.ca) && one.ca.contains(first.ca.trim()));
        let two = succeed(third.clone(), Some(&one));
        assert!(two.ca.contains(second.ca.trim()) && !two.ca.contains(first.ca.trim()));
        assert_eq!(CertificateDer::pem_slice_iter(two.ca.as_bytes()).flatten().count(), 2);
        assert_eq!(succeed(third.clone(), None), third);
    }

    #[test]
    fn what_does_not_belong_together_will_not_do() {
        let (one, two) = (make(now()).unwrap(), make(now()).unwrap());
        assert_ne!(one, two);
        for mixed in [
            InternalTls { ca: two.ca.clone(), ..one.clone() },
            InternalTls { key: two.key.clone(), ..one.clone() },
            InternalTls { certificate: two.certificate.clone(), ..one.clone() },
            InternalTls { ca: "none".to_owned(), ..one.clone() },
            InternalTls { key: Hidden::default(), ..one.clone() },
            InternalTls { certificate: one.ca.clone(), ..one.clone() },
            InternalTls::default(),
        ] {
            assert!(!will_do(&mixed, now()), "{mixed:?}");
        }
    }

    #[test]
    fn the_secret_is_read_as_it_was_written_and_an_incomplete_one_is_none() {
        let made = make(now()).unwrap();
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let mut data: BTreeMap<_, _> = [
            (names::INTERNAL_CA_KEY.to_owned(), bytes(&made.ca)),
            (names::INTERNAL_CERT_KEY.to_owned(), bytes(&made.certificate)),
            (names::INTERNAL_KEY_KEY.to_owned(), bytes(&made.key.0)),
        ]
        .into();
        assert_eq!(read(&data), Some(made));
        data.remove(names::INTERNAL_KEY_KEY);
        assert_eq!(read(&data), None);
    }
}
