//! Keys, certificates and kubeconfigs of the cluster's parts: EC P-256, by openssl, all in about a second.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::layout::{Layout, Node, SERVICE_FIRST, api_url};
use super::shell;

/// One certificate: file name, subject, and the names that a server's answers to.
struct Certificate {
    name: &'static str,
    subject: &'static str,
    names: String,
    authority: &'static str,
}

/// Makes all keys and certificates.
pub(crate) fn make(layout: &Layout) -> Result<()> {
    let pki = layout.pki();
    fs::create_dir_all(&pki)?;
    for authority in ["ca", "front-proxy-ca"] {
        make_authority(&pki, authority)?;
    }
    for certificate in certificates() {
        issue(&pki, &certificate)?;
    }
    make_token_key(&pki)
}

/// Writes the kubeconfigs of the administrator and of every part.
pub(crate) fn write_kubeconfigs(layout: &Layout) -> Result<()> {
    let write =
        |path: &Path, certificate: &str| fs::write(path, kubeconfig(&layout.pki(), certificate).to_string());
    write(&layout.kubeconfig(), "admin")?;
    for part in ["controller-manager", "scheduler", "proxy", "coredns", "node1", "node2"] {
        write(&layout.part_kubeconfig(part), part)?;
    }
    Ok(())
}

fn certificates() -> Vec<Certificate> {
    let client = |name, subject| Certificate { name, subject, names: String::new(), authority: "ca" };
    let node = |name, subject, node: Node| {
        let names = format!("DNS:{},IP:{}", node.name(), node.address());
        Certificate { name, subject, names, authority: "ca" }
    };
    let api_names = format!(
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,\
         DNS:localhost,IP:{},IP:{SERVICE_FIRST},IP:127.0.0.1",
        Node(1).address()
    );
    vec![
        Certificate { name: "apiserver", subject: "/CN=kube-apiserver", names: api_names, authority: "ca" },
        client("admin", "/O=system:masters/CN=admin"),
        client("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet"),
        // It acts for all controllers under its own name, so it needs the rights of all of them.
        client("controller-manager", "/O=system:masters/CN=system:kube-controller-manager"),
        client("scheduler", "/CN=system:kube-scheduler"),
        client("proxy", "/CN=system:kube-proxy"),
        client("coredns", "/O=system:masters/CN=coredns"),
        node("node1", "/O=system:nodes/CN=system:node:node1", Node(1)),
        node("node2", "/O=system:nodes/CN=system:node:node2", Node(2)),
        Certificate {
            name: "front-proxy-client",
            subject: "/CN=front-proxy-client",
            names: String::new(),
            authority: "front-proxy-ca",
        },
    ]
}

fn make_authority(pki: &Path, name: &str) -> Result<()> {
    let mut command = request(pki, name, &format!("/CN=pgpooler-test-{name}"));
    command.args(["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]);
    shell::output(&mut command).map(drop)
}

fn issue(pki: &Path, certificate: &Certificate) -> Result<()> {
    let mut command = request(pki, certificate.name, certificate.subject);
    command.args(["-CA", &format!("{}.crt", certificate.authority)]);
    command.args(["-CAkey", &format!("{}.key", certificate.authority)]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.args(["-addext", "extendedKeyUsage=clientAuth,serverAuth"]);
    if !certificate.names.is_empty() {
        command.args(["-addext", &format!("subjectAltName={}", certificate.names)]);
    }
    shell::output(&mut command).map(drop)
}

fn request(pki: &Path, name: &str, subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(pki);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]);
    command.args(["-days", "3650", "-subj", subject]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    command
}

/// The key that signs service account tokens, and its public half.
fn make_token_key(pki: &Path) -> Result<()> {
    let run = |arguments: &[&str]| shell::output(Command::new("openssl").current_dir(pki).args(arguments));
    run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "tokens.key"])?;
    run(&["ec", "-in", "tokens.key", "-pubout", "-out", "tokens.pub"]).map(drop)
}

/// A kubeconfig (JSON is YAML too).
fn kubeconfig(pki: &Path, certificate: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pgpooler",
        "clusters": [{
            "name": "pgpooler",
            "cluster": {"server": api_url(), "certificate-authority": pki.join("ca.crt")},
        }],
        "users": [{
            "name": certificate,
            "user": {
                "client-certificate": pki.join(format!("{certificate}.crt")),
                "client-key": pki.join(format!("{certificate}.key")),
            },
        }],
        "contexts": [{"name": "pgpooler", "context": {"cluster": "pgpooler", "user": certificate}}],
    })
}
