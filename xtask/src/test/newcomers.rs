//! Kinds of other operators that come while ours runs, and go again. The test does cert-manager's work.

use anyhow::{Result, ensure};

use crate::site::Site;

use super::whole::{certificate, patch, pods, shown, until, wait_for_reason};

const KINDS: &str = include_str!("../../../tests/demo/kinds.yaml");
const CRDS: [&str; 2] = ["certificates.cert-manager.io", "podmonitors.monitoring.coreos.com"];
const MADE: [&str; 2] =
    ["certificates.cert-manager.io/whole-client-tls", "podmonitors.monitoring.coreos.com/whole"];

/// A certificate and a monitor are ordered as soon as somebody takes orders, without a new pod or a new operator.
pub(super) fn are_used(site: &Site) -> Result<()> {
    let before = pods(site)?;
    patch(
        site,
        r#"{"spec":{"clients":{"tls":{"secretRef":null,"issuerRef":{"name":"internal","kind":"Issuer"}}},
        "monitoring":{"podMonitor":{"enabled":true}}}}"#,
    )?;
    wait_for_reason(site, "KindMissing", "False")?;
    ensure!(shown(site)?.contains("two") && pods(site)? == before, "the pods were touched");
    site.apply(KINDS)?;
    until("both are ordered", || MADE.iter().try_for_each(|made| site.object(made).map(drop)))?;
    certificate(site, "whole-client-tls", "three")?;
    until("what was delivered is shown", || {
        let shown = shown(site)?;
        ensure!(shown.contains("three"), "{shown}");
        Ok(())
    })?;
    site.wait_for_pgpooler("whole")?;
    ensure!(pods(site)? == before, "pods were replaced");
    Ok(())
}

/// What is wanted no more is removed; an operator without the kinds goes on.
pub(super) fn may_go(site: &Site) -> Result<()> {
    let before = pods(site)?;
    patch(
        site,
        r#"{"spec":{"clients":{"tls":{"secretRef":{"name":"whole-tls"},"issuerRef":null}},
        "monitoring":{"podMonitor":{"enabled":false}}}}"#,
    )?;
    until("they are gone", || {
        let left =
            site.kubectl(&[&["get", "--ignore-not-found", "--output=name"][..], &MADE[..]].concat())?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    site.wait_for_pgpooler("whole")?;
    site.kubectl(&[&["delete", "customresourcedefinitions", "--timeout=60s"][..], &CRDS[..]].concat())?;
    patch(site, r#"{"spec":{"queueTimeout":"8s"}}"#)?;
    site.wait_for_pgpooler("whole")?;
    ensure!(pods(site)? == before, "pods were replaced");
    Ok(())
}
