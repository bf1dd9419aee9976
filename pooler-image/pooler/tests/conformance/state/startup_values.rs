//! What a client asks for at start-up is what RESET goes back to.

use super::super::{Script, same_each};

const NAMES: &[&str] =
    &["work_mem", "timezone", "statement_timeout", "search_path", "application_name", "datestyle"];

const ASKED: &[(&str, &str)] = &[
    ("work_mem", "7MB"),
    ("TimeZone", "Japan"),
    ("options", "-c statement_timeout=7s -c app.custom=started --search-path=elsewhere"),
    ("application_name", "starter"),
    ("DateStyle", "German"),
];

fn looks(script: Script) -> Script {
    let custom = "select nullif(current_setting('app.custom', true), '')";
    NAMES.iter().fold(script.query(custom), |script, name| script.query(&format!("show {name}")))
}

fn as_str(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

#[test]
fn reset_goes_back_to_what_the_client_asked_for() {
    let sets = "set work_mem = '8MB'; set timezone = 'Portugal'; set statement_timeout = '8s'; set search_path = public; \
        set app.custom = 'other'; set application_name = 'other'; set datestyle = 'sql, dmy'";
    let each = |back: &[&str]| {
        let script = looks(Script::new().login(ASKED)).query(sets);
        looks(looks(looks(script).queries(back)).client(1)).query("reset all")
    };
    let all = || NAMES.iter().chain(&["app.custom"]);
    let resets: Vec<_> = all().map(|name| format!("reset {name}")).collect();
    let to_default: Vec<_> = all().map(|name| format!("set {name} to default")).collect();
    same_each([
        ("each", each(&as_str(&resets))),
        ("to default", each(&as_str(&to_default))),
        ("reset all", each(&["reset all"])),
        ("discard all", each(&["discard all"])),
        ("reset all, rolled back", each(&["begin", "reset all", "rollback"])),
        (
            "discard all by the extended protocol",
            each(&["select 1"]).client(0).extended("discard all").query("show work_mem"),
        ),
        ("set time zone local", each(&["set time zone local"])),
        ("set time zone default", each(&["set time zone default"])),
    ]);
}

#[test]
fn options_are_read_as_postgresql_reads_them() {
    let each =
        |options: &str| looks(Script::new().login(&[("options", options)])).query("show enable_seqscan");
    same_each([
        ("-c", each("-c work_mem=7MB")),
        ("-c without a space", each("-cwork_mem=7MB")),
        ("--", each("--work_mem=7MB")),
        ("dashes", each("--work-mem=7MB -c statement-timeout=3s")),
        ("twice, the last wins", each("-c work_mem=6MB -c work_mem=7MB")),
        ("escaped space", each("-c search_path=a,\\ b")),
        ("escaped backslash", each("-c app.custom=a\\\\b")),
        ("upper case", each("-c WORK_MEM=7MB")),
        ("an equal sign in the value", each("-c app.custom=a=b")),
        ("an empty value", each("-c app.custom=")),
        ("spaces around", each("   -c   work_mem=7MB   ")),
        ("nothing", each("")),
        ("a short switch", each("-fs")),
        ("timeouts", each("-c lock_timeout=1s -c idle_in_transaction_session_timeout=5s")),
    ]);
}

#[test]
fn options_that_postgresql_refuses_are_refused_alike() {
    let each = |parameters: &[(&str, &str)]| Script::new().login(parameters).closed();
    same_each([
        ("an unknown switch", each(&[("options", "-X")])),
        ("an unknown word", each(&[("options", "work_mem=7MB")])),
        ("no value", each(&[("options", "-c work_mem")])),
        ("no argument", each(&[("options", "-c")])),
        ("an unknown name", each(&[("options", "-c nosuch=1")])),
        ("a bad value", each(&[("options", "-c work_mem=many")])),
        ("an unknown parameter", each(&[("nosuch", "1")])),
        ("a bad parameter", each(&[("work_mem", "many")])),
        ("a bad time zone", each(&[("timezone", "Nowhere/Land")])),
        ("a bad encoding", each(&[("client_encoding", "nosuch")])),
        ("one that needs a superuser", each(&[("log_statement", "all")])),
        ("one that needs a restart", each(&[("shared_buffers", "1MB")])),
        ("one that cannot be changed", each(&[("server_version", "1")])),
    ]);
}

#[test]
fn startup_parameters_are_the_clients_own_and_reported_as_the_server_spells_them() {
    let each = |parameters: &[(&str, &str)]| {
        looks(Script::new().login(parameters).query("show client_encoding"))
            .client(1)
            .query("show client_encoding")
            .query("show timezone")
    };
    same_each([
        ("none", each(&[])),
        ("timezone", each(&[("timezone", "europe/paris")])),
        ("TimeZone", each(&[("TimeZone", "UTC")])),
        ("encoding", each(&[("client_encoding", "utf-8")])),
        ("another encoding", each(&[("client_encoding", "latin1")])),
        ("encoding in quotes", each(&[("client_encoding", "'utf-8'")])),
        ("datestyle", each(&[("DateStyle", "iso")])),
        ("datestyle, three", each(&[("DATESTYLE", "postgres,dmy")])),
        ("interval style", each(&[("IntervalStyle", "ISO_8601")])),
        ("application_name", each(&[("application_name", "my \"app\"'s")])),
        ("application_name, not ASCII", each(&[("application_name", "naïve")])),
        ("application_name, long", each(&[("application_name", &"n".repeat(100))])),
        ("search_path", each(&[("search_path", "a, \"B\"")])),
        ("role", each(&[("role", "helper")])),
        ("one twice", each(&[("work_mem", "6MB"), ("work_mem", "7MB")])),
        ("one twice in other case", each(&[("work_mem", "6MB"), ("WORK_MEM", "7MB")])),
        ("options and a parameter", each(&[("options", "-c work_mem=6MB"), ("work_mem", "7MB")])),
        ("a parameter and options", each(&[("work_mem", "7MB"), ("options", "-c work_mem=6MB")])),
        ("extra_float_digits", each(&[("extra_float_digits", "3"), ("geqo", "off")])),
        ("default_transaction_read_only", each(&[("default_transaction_read_only", "on")])),
        ("standard_conforming_strings", each(&[("standard_conforming_strings", "off")])),
    ]);
}
