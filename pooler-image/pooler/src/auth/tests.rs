//! Who is challenged how.

use std::time::{Duration, Instant};

use pgpooler_config::{Secret, UserSecret};
use pgpooler_core::md5;
use pgpooler_core::scram::ScramVerifier;

use super::*;

fn list(list: &str) -> Userlist {
    Userlist::parse(list).unwrap()
}

fn state(users: &str) -> AuthState {
    AuthState::new(&list(users), &Document::default()).unwrap()
}

fn state_of(auth_type: AuthType, users: &str) -> AuthState {
    AuthState::new(&list(users), &Document { auth_type, ..Document::default() }).unwrap()
}

fn challenge(state: &AuthState, user: &str) -> Challenge {
    let parameters = StartupParameters { user: user.to_owned(), ..StartupParameters::default() };
    let applicant = Applicant { parameters: &parameters, common_name: None };
    state.ask(applicant, state.listed(user).cloned()).unwrap()
}

fn verifier(state: &AuthState, user: &str) -> Arc<ScramVerifier> {
    match challenge(state, user).method {
        Method::Scram { verifier, .. } => verifier,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_keys_of_a_password_are_derived_once() {
    let state = state("\"ann\" \"secret\"");
    assert!(Arc::ptr_eq(&verifier(&state, "ann"), &verifier(&state, "ann")));
}

#[test]
fn an_unknown_user_gets_the_same_salt_each_time_and_after_a_reload() {
    let state = state("\"ann\" \"secret\"");
    let eve = verifier(&state, "eve");
    assert!(challenge(&state, "eve").user.is_none());
    assert_eq!(verifier(&state, "eve"), eve);
    assert_eq!(verifier(&state.reload(&Userlist::default(), &Document::default()).unwrap(), "eve"), eve);
}

#[test]
fn a_user_with_an_empty_password_is_as_good_as_unknown() {
    assert!(challenge(&state("\"ann\" \"\""), "ann").user.is_none());
}

#[test]
fn unknown_users_have_the_iterations_of_known_ones() {
    let stored = ScramVerifier::derive("secret", b"salt", 7);
    let state = state(&format!("\"ann\" \"{stored}\""));
    assert_eq!(verifier(&state, "eve").iterations(), 7);
    assert_eq!(*verifier(&state, "ann"), stored);
}

#[test]
fn where_all_users_have_md5_hashes_unknown_ones_are_asked_for_md5_too() {
    let state = state(&format!("\"ann\" \"md5{}\"", "0".repeat(32)));
    for user in ["ann", "eve"] {
        assert!(matches!(challenge(&state, user).method, Method::Md5 { .. }));
    }
}

#[test]
fn a_reload_keeps_the_keys_of_users_whose_secret_is_unchanged() {
    let old = state("\"ann\" \"secret\"\n\"bob\" \"one\"");
    let new = old.reload(&list("\"ann\" \"secret\"\n\"bob\" \"two\""), &Document::default()).unwrap();
    assert!(Arc::ptr_eq(old.listed("ann").unwrap(), new.listed("ann").unwrap()));
    assert!(!Arc::ptr_eq(old.listed("bob").unwrap(), new.listed("bob").unwrap()));
}

#[test]
fn debug_output_hides_the_secrets() {
    assert!(!format!("{:?}", state("\"ann\" \"hunter2\"")).contains("hunter2"));
}

#[test]
fn a_method_that_is_asked_for_holds_for_known_and_unknown_users() {
    let plain = "\"ann\" \"secret\"";
    let method = |auth_type, users: &str, user: &str| challenge(&state_of(auth_type, users), user).method;
    for user in ["ann", "eve"] {
        assert!(matches!(method(AuthType::Scram, plain, user), Method::Scram { .. }));
        assert!(matches!(method(AuthType::Md5, plain, user), Method::Md5 { .. }));
        assert!(matches!(method(AuthType::Plain, plain, user), Method::Plain));
        assert!(matches!(method(AuthType::Cert, plain, user), Method::Certificate { common_name: None }));
        let hash = format!("\"ann\" \"{}\"", md5::stored("secret", "ann"));
        assert!(matches!(method(AuthType::Scram, &hash, user), Method::Scram { .. }));
        let stored = ScramVerifier::derive("secret", b"salt", 7);
        assert!(matches!(
            method(AuthType::Md5, &format!("\"ann\" \"{stored}\""), user),
            Method::Scram { .. }
        ));
    }
}

#[test]
fn a_password_in_clear_text_is_compared_with_every_kind_of_secret() {
    let stored = ScramVerifier::derive("secret", b"salt", 7).to_string();
    for secret in ["secret".to_owned(), md5::stored("secret", "ann"), stored] {
        let state = state_of(AuthType::Plain, &format!("\"ann\" \"{secret}\""));
        let right = |user: &str, password: &str| {
            matches!(challenge(&state, user).check(password), PasswordCheck::Right(_))
        };
        // the second time from memory
        for _ in 0..2 {
            assert!(right("ann", "secret"));
            assert!(!right("ann", "guess"));
            assert!(!right("eve", "secret"));
        }
    }
}

fn looking_up() -> Arc<Lookups> {
    let document = Document { auth_user: "asker".to_owned(), ..Document::default() };
    let state = AuthState::new(&list("\"asker\" \"a\""), &document).unwrap();
    Arc::clone(state.lookups().unwrap())
}

fn begin(lookups: &Arc<Lookups>, key: &Key) -> Inquiry {
    match lookups.ask(key) {
        Ask::Begin(inquiry, _) => inquiry,
        other => panic!("{other:?}"),
    }
}

fn secret(text: &str) -> UserSecret {
    UserSecret::Plain(Secret::new(text.to_owned()))
}

#[test]
fn a_user_is_asked_for_once_at_a_time_and_again_afterwards() {
    let (lookups, now) = (looking_up(), Instant::now());
    let key = lookups.key("shop", "ann");
    let first = begin(&lookups, &key);
    assert!(matches!(lookups.ask(&key), Ask::Wait(_)));
    first.answered(Some(&secret("one")), now).unwrap();
    let known = lookups.known(&key).unwrap();
    begin(&lookups, &key).answered(Some(&secret("one")), now).unwrap();
    assert!(Arc::ptr_eq(&known, &lookups.known(&key).unwrap()), "the same secret keeps its keys");
    begin(&lookups, &key).answered(Some(&secret("two")), now).unwrap();
    assert!(!Arc::ptr_eq(&known, &lookups.known(&key).unwrap()));
    begin(&lookups, &key).answered(None, now).unwrap();
    assert!(lookups.known(&key).is_none());
}

#[test]
fn an_answer_stands_in_until_it_is_old_or_a_proof_failed_and_only_for_its_database() {
    let (lookups, now) = (looking_up(), Instant::now());
    let key = lookups.key("shop", "ann");
    begin(&lookups, &key).answered(Some(&secret("one")), now).unwrap();
    assert!(lookups.stand_in(&key, now + Duration::from_secs(299)).is_some());
    assert!(lookups.stand_in(&key, now + Duration::from_mins(5)).is_none());
    assert!(lookups.stand_in(&lookups.key("other", "ann"), now).is_none());
    lookups.forget(&key);
    assert!(lookups.stand_in(&key, now).is_none());
}

#[test]
fn an_asker_that_ends_without_a_word_has_failed_and_bars_nobody() {
    let lookups = looking_up();
    let key = lookups.key("shop", "ann");
    let Ask::Begin(inquiry, receiver) = lookups.ask(&key) else { panic!("not the first") };
    drop(inquiry);
    assert!(matches!(*receiver.borrow(), Some(Answer::Failed)));
    drop(begin(&lookups, &key));
}

#[test]
fn strangers_cannot_make_the_pooler_ask_any_number_of_databases() {
    let (lookups, now) = (looking_up(), Instant::now());
    begin(&lookups, &lookups.key("shop", "ann")).answered(None, now).unwrap();
    for n in 0..64 {
        drop(begin(&lookups, &lookups.key(&n.to_string(), "ann")));
    }
    assert!(matches!(lookups.ask(&lookups.key("one more", "ann")), Ask::Never));
    drop(begin(&lookups, &lookups.key("shop", "ann")));
}

#[test]
fn other_settings_of_the_look_up_forget_what_was_found_and_the_same_do_not() {
    let document = Document { auth_user: "asker".to_owned(), ..Document::default() };
    let users = list("\"asker\" \"a\"");
    let state = AuthState::new(&users, &document).unwrap();
    let same = state.reload(&users, &document).unwrap();
    assert!(Arc::ptr_eq(state.lookups().unwrap(), same.lookups().unwrap()));
    let other = Document { auth_dbname: "users".to_owned(), ..document };
    let other = state.reload(&users, &other).unwrap();
    assert!(!Arc::ptr_eq(state.lookups().unwrap(), other.lookups().unwrap()));
}
