//! Every pooler's configuration from the same facts.

use std::path::Path;

/// The role, its password and its database, everywhere.
pub(crate) const NAME: &str = "bench";
/// Most clients of a pooler: above what any cell asks for.
const MAX_CLIENTS: usize = 12_000;
/// Named statements that a pooler keeps on a server connection, where it can be said.
const PREPARED_STATEMENTS: usize = 200;

/// What a pooler is told.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Port that clients connect to.
    pub(crate) port: u16,
    /// Port of PostgreSQL.
    pub(crate) server_port: u16,
    /// Server connections.
    pub(crate) servers: usize,
    /// Threads, where there can be more than one.
    pub(crate) workers: usize,
    /// What PostgreSQL stores of the password.
    pub(crate) verifier: String,
    /// Clients use TLS.
    pub(crate) tls: bool,
}

/// `pgbouncer.ini`; `userlist.txt` and the certificate lie beside it.
pub(crate) fn pgbouncer(setup: &Setup, folder: &Path) -> String {
    let Setup { port, server_port, servers, .. } = setup;
    let folder = folder.display();
    let mut text = format!(
        "[databases]\n{NAME} = host=127.0.0.1 port={server_port} dbname={NAME} user={NAME} password={NAME}\n\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {folder}/userlist.txt\npool_mode = transaction\n\
         default_pool_size = {servers}\nmax_client_conn = {MAX_CLIENTS}\n\
         max_prepared_statements = {PREPARED_STATEMENTS}\nlog_connections = 0\nlog_disconnections = 0\n\
         log_stats = 0\nlisten_backlog = 4096\nquery_wait_timeout = 0\nclient_login_timeout = 0\n\
         server_tls_sslmode = disable\n"
    );
    if setup.tls {
        let files = format!(
            "client_tls_cert_file = {folder}/server.crt\nclient_tls_key_file = {folder}/server.key\nclient_tls_ca_file = {folder}/server.crt\n"
        );
        text.extend(["client_tls_sslmode = require\n", &files]);
    }
    text
}

/// `userlist.txt`, for PgBouncer and for pgpooler.
pub(crate) fn userlist(setup: &Setup) -> String {
    format!("\"{NAME}\" \"{}\"\n", setup.verifier)
}

/// `odyssey.conf`.
pub(crate) fn odyssey(setup: &Setup, folder: &Path) -> String {
    let Setup { port, server_port, servers, workers, verifier, tls } = setup;
    let folder = folder.display();
    let tls = if *tls {
        format!(
            "tls \"require\"\n  tls_cert_file \"{folder}/server.crt\"\n  tls_key_file \"{folder}/server.key\""
        )
    } else {
        "tls \"disable\"".to_owned()
    };
    format!(
        "daemonize no\nlog_to_stdout yes\nlog_format \"%p %t %l %m\\n\"\nlog_config no\nlog_debug no\n\
         log_session no\nlog_query no\nlog_stats no\nworkers {workers}\nresolvers 1\nnodelay yes\n\
         client_max {MAX_CLIENTS}\n\
         listen {{\n  host \"127.0.0.1\"\n  port {port}\n  backlog 4096\n  {tls}\n}}\n\
         storage \"postgres\" {{\n  type \"remote\"\n  host \"127.0.0.1\"\n  port {server_port}\n}}\n\
         database \"{NAME}\" {{\n  user \"{NAME}\" {{\n    authentication \"scram-sha-256\"\n    password \"{verifier}\"\n    \
         storage \"postgres\"\n    storage_db \"{NAME}\"\n    storage_user \"{NAME}\"\n    storage_password \"{NAME}\"\n    \
         pool \"transaction\"\n    pool_size {servers}\n    pool_timeout 0\n    pool_discard no\n    \
         pool_reserve_prepared_statement yes\n  }}\n}}\n"
    )
}

/// `pgpooler.toml`.
pub(crate) fn pgpooler(setup: &Setup, http_port: u16) -> String {
    let Setup { port, server_port, servers, workers, .. } = setup;
    let mut text = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_port = {port}\nhttp_addr = \"127.0.0.1\"\nhttp_port = {http_port}\n\
         workers = {workers}\nauth_file = \"userlist.txt\"\npool_mode = \"transaction\"\n\
         max_client_conn = {MAX_CLIENTS}\nmax_server_connections = {servers}\n\
         max_prepared_statements = {PREPARED_STATEMENTS}\nserver_tls_sslmode = \"disable\"\n"
    );
    if setup.tls {
        text += "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"server.crt\"\n\
                 client_tls_key_file = \"server.key\"\n";
    }
    text + &format!("\n[target]\nhost = \"127.0.0.1\"\nport = {server_port}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(tls: bool) -> Setup {
        let verifier = "SCRAM-SHA-256$4096:salt$stored:server".to_owned();
        Setup { port: 6432, server_port: 5432, servers: 20, workers: 2, verifier, tls }
    }

    #[test]
    fn every_pooler_is_told_the_same() {
        let folder = Path::new("/folder");
        let all = |setup: &Setup| {
            let texts =
                [pgbouncer(setup, folder), userlist(setup), odyssey(setup, folder), pgpooler(setup, 9127)];
            texts.join("\n---\n")
        };
        insta::assert_snapshot!("plain", all(&setup(false)));
        insta::assert_snapshot!("tls", all(&setup(true)));
    }
}
