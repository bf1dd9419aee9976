//! The internal Secret: the login role, the user of the admin console, and what the pods share.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use pgpooler_config::{UserSecret, Userlist};

use crate::names;
use crate::plan::facts::{Facts, Hidden};
use crate::plan::pooler::Pooler;
use crate::plan::target::Target;

use super::meta::meta;

/// The Secret.
pub fn render(pooler: &Pooler, target: &Target, facts: &Facts) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let userlist = userlist(target, &facts.admin_password);
    Secret {
        metadata: meta(pooler, names::auth(&pooler.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(
            [
                (names::USERLIST_KEY.to_owned(), bytes(&userlist)),
                (names::ADMIN_PASSWORD_KEY.to_owned(), bytes(&facts.admin_password.0)),
                (names::PEER_SECRET_KEY.to_owned(), bytes(&facts.peer_secret.0)),
                (names::INTERNAL_CA_KEY.to_owned(), bytes(&facts.internal_tls.ca)),
                (names::INTERNAL_CERT_KEY.to_owned(), bytes(&facts.internal_tls.certificate)),
                (names::INTERNAL_KEY_KEY.to_owned(), bytes(&facts.internal_tls.key.0)),
            ]
            .into(),
        ),
        ..Secret::default()
    }
}

/// A target whose login role is called like the admin user keeps its own password: clients must be able to log in.
pub fn userlist(target: &Target, admin_password: &Hidden) -> String {
    let mut list = Userlist::default();
    list.insert(names::ADMIN_USER, UserSecret::of(admin_password.0.as_str()));
    list.insert(target.user.as_str(), UserSecret::of(target.password.0.as_str()));
    list.render().expose().to_owned()
}
