//! A replication connection with TLS on both sides.

use std::process::{Command, Stdio};

use pgpooler_test_support::{PoolerOptions, Postgres, PostgresOptions, Programs};

use super::{Files, certified};
use crate::start;

#[test]
fn a_base_backup_goes_through_tls_on_both_sides() {
    let options = PostgresOptions {
        tls: Some(certified("localhost", &["localhost"])),
        max_connections: 20,
        ..PostgresOptions::default()
    };
    let server =
        Postgres::start(&options.setting("wal_level", "replica").setting("max_wal_senders", "4")).unwrap();
    server.sql("create role copier login replication password 'copier'").unwrap();
    let files = Files::new();
    let options = PoolerOptions::before(&server)
        .user("copier", "copier")
        .setting("max_server_connections", "3")
        .setting("server_tls_sslmode", "\"require\"");
    let pooler = start(&files.clients(options, "require"));
    let backup = files.path("backup");
    let output = Command::new(Programs::find(None).unwrap().path("pg_basebackup"))
        .env("PGPASSWORD", "copier")
        .env("PGSSLMODE", "require")
        .args(["-h", "127.0.0.1", "-p", &pooler.port().to_string(), "-U", "copier"])
        .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-D"])
        .arg(&backup)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}\n{}", pooler.log());
    assert!(backup.join("backup_manifest").exists());
}
