//! SCRAM-SHA-256-PLUS: both sides against each other, and with somebody in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use pgpooler_core::login::{Credential, Login, LoginStep};
use pgpooler_core::scram::{
    Binding, ClientKeys, EndPoint, ExpectClientFirst, ExpectServerFirst, Offer, SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS, ScramError, ScramVerifier,
};
use pgpooler_core::wire::backend;

fn end_point(name: u8) -> EndPoint {
    vec![name; 32].into()
}

fn exchange(binding: Binding, offer: Offer) -> Result<(), ScramError> {
    let verifier = Arc::new(ScramVerifier::derive("secret", b"salt", 1));
    let (first, client) = ExpectServerFirst::start_bound("client".to_owned(), binding);
    let first = ExpectClientFirst::new(verifier, "server".to_owned()).offered(offer).receive(&first)?;
    let (last, client) = client.receive(&first.reply)?.respond(&ClientKeys::derive("secret", b"salt", 1));
    client.receive(&first.next.receive(&last)?.reply)
}

#[test]
fn a_login_is_bound_to_the_certificate_that_both_sides_see() {
    assert_eq!(exchange(Binding::To(end_point(1)), Offer::Chosen(end_point(1))), Ok(()));
    assert_eq!(exchange(Binding::Impossible, Offer::Declined), Ok(()));
    assert_eq!(exchange(Binding::Impossible, Offer::Nothing), Ok(()));
    assert_eq!(exchange(Binding::NotOffered, Offer::Nothing), Ok(()));
}

#[test]
fn somebody_between_with_another_certificate_or_another_offer_is_noticed() {
    let passed_on = exchange(Binding::To(end_point(1)), Offer::Chosen(end_point(2)));
    assert_eq!(passed_on, Err(ScramError::EndPoint));
    assert_eq!(exchange(Binding::NotOffered, Offer::Declined), Err(ScramError::Downgrade));
}

#[test]
fn mechanism_and_header_must_agree() {
    let chosen = || Offer::Chosen(end_point(1));
    assert_eq!(exchange(Binding::Impossible, chosen()), Err(ScramError::NoChannelBinding));
    assert_eq!(exchange(Binding::NotOffered, chosen()), Err(ScramError::NoChannelBinding));
    for offer in [Offer::Nothing, Offer::Declined] {
        assert_eq!(exchange(Binding::To(end_point(1)), offer), Err(ScramError::ChannelBinding));
    }
}

/// What we answer to a server that offers these mechanisms: mechanism and header.
fn answer(mechanisms: &[&str], server: Option<EndPoint>) -> Option<String> {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    backend::authentication_sasl(&mut input, mechanisms);
    let login = Login::start(0, [("user", "ann")], "client".to_owned(), &mut Vec::new()).bound_to(server);
    match login.receive(&mut input, &mut Credential::password("ann", "secret"), &mut out) {
        LoginStep::More(_) => {
            let text = String::from_utf8_lossy(&out[5..]).into_owned();
            let header = text
                .split("n=")
                .next()?
                .rsplit('\0')
                .next()?
                .trim_start_matches(|c: char| !"nyp".contains(c));
            Some(format!("{} {header}", text.split('\0').next()?))
        }
        _ => None,
    }
}

#[test]
fn we_bind_our_logins_wherever_the_server_can() {
    const BOTH: &[&str] = &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
    let here = || Some(end_point(1));
    assert_eq!(answer(BOTH, here()).unwrap(), "SCRAM-SHA-256-PLUS p=tls-server-end-point,,");
    assert_eq!(answer(&[SCRAM_SHA_256], here()).unwrap(), "SCRAM-SHA-256 y,,");
    assert_eq!(answer(BOTH, None).unwrap(), "SCRAM-SHA-256 n,,");
    assert_eq!(answer(&[SCRAM_SHA_256], None).unwrap(), "SCRAM-SHA-256 n,,");
    assert_eq!(answer(&[SCRAM_SHA_256_PLUS], None), None);
}
