//! Clients whose certificate says who they are.

use pgpooler_test_support::{RawClient, TlsOptions};

use super::{Files, certified, over_tls};
use crate::{app_login, options, sqlstate, start, tags, value};

#[test]
fn a_certificate_in_the_users_name_is_all_that_a_client_needs() {
    let files = Files::new();
    let options = files
        .clients(options(1), "verify-ca")
        .setting("client_tls_ca_file", &files.toml("ca.crt"))
        .setting("auth_type", "\"cert\"");
    let pooler = start(&options);
    let login = |user: &str, name: &str| {
        let tls = TlsOptions { identity: Some(certified(name, &[])), ..over_tls() };
        let login = pgpooler_test_support::Login { user: user.to_owned(), ..app_login(&pooler) };
        RawClient::login_messages(&login.secure(tls)).unwrap()
    };
    let (mut client, messages) = login("app", "app");
    assert_eq!(tags(&messages).replace('S', ""), "RKZ", "nothing is asked");
    assert_eq!(value(&mut client, "SELECT current_user"), "app");
    for (user, name) in [("app", "other"), ("nobody", "other")] {
        let (_, messages) = login(user, name);
        assert_eq!(sqlstate(&messages).as_deref(), Some("28000"));
        let told = format!("certificate authentication failed for user \"{user}\"");
        assert_eq!(messages[0].field(b'M'), Some(told));
    }
    // a good certificate of somebody who does not exist is worth no more
    let (_, messages) = login("nobody", "nobody");
    assert_eq!(sqlstate(&messages).as_deref(), Some("28000"));
}
