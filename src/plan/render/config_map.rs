//! The `ConfigMap` with the configuration document.

use k8s_openapi::api::core::v1::ConfigMap;
use pgpooler_config::Document;

use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The `ConfigMap`.
pub fn render(pooler: &Pooler, document: &Document) -> ConfigMap {
    ConfigMap {
        metadata: meta(pooler, names::config(&pooler.name)),
        data: Some([(names::DOCUMENT_KEY.to_owned(), document.to_toml())].into()),
        ..ConfigMap::default()
    }
}
