//! Settings by SQL, in every way: kept by their client, never seen by another.

use super::super::{Script, same_each};

/// SHOW; of a parameter that nobody has declared, in a way that does not tell whether the session has met its name.
pub(super) fn look(name: &str) -> String {
    if name.contains('.') {
        format!("select nullif(current_setting('{name}', true), '')")
    } else {
        format!("show {name}")
    }
}

/// Sets in some way, then looks: the client itself in later transactions, another client, and after RESET.
fn follow(name: &str, sets: &[&str]) -> Script {
    let show = look(name);
    Script::new()
        .queries(sets)
        .query(&show)
        .client(1)
        .query(&show)
        .client(0)
        .query("begin")
        .query(&show)
        .query("commit")
        .extended(&show)
        .query(&format!("reset {name}"))
        .query(&show)
        .client(1)
        .query(&show)
}

fn follow_each(list: &[(&str, &str, &[&str])]) {
    same_each(list.iter().map(|(label, name, sets)| (*label, follow(name, sets))));
}

#[test]
fn settings_of_every_kind_stay_with_their_client() {
    follow_each(&[
        ("work_mem", "work_mem", &["set work_mem = '77MB'"]),
        ("statement_timeout", "statement_timeout", &["set statement_timeout = 7000"]),
        ("search_path", "search_path", &["set search_path = a, \"B c\", public"]),
        ("search_path, empty", "search_path", &["set search_path = ''"]),
        ("custom", "app.custom", &["set app.custom = 'mine'"]),
        ("custom, empty", "app.custom", &["set app.custom = ''"]),
        ("custom, three parts", "app.a.b", &["set app.a.b = 'x'"]),
        ("timezone", "timezone", &["set timezone = 'Japan'"]),
        ("set time zone", "timezone", &["set time zone 'Europe/Paris'"]),
        ("set time zone, a number", "timezone", &["set time zone -5"]),
        ("set time zone, an interval", "timezone", &["set time zone interval '+02:30' hour to minute"]),
        ("set time zone local", "timezone", &["set time zone 'Japan'", "set time zone local"]),
        ("datestyle", "datestyle", &["set datestyle = 'German'"]),
        ("datestyle, two", "datestyle", &["set datestyle = sql, dmy"]),
        ("datestyle by halves", "datestyle", &["set datestyle = sql", "set datestyle = dmy"]),
        ("intervalstyle", "intervalstyle", &["set intervalstyle = iso_8601"]),
        ("application_name", "application_name", &["set application_name = 'mine'"]),
        (
            "application_name, odd",
            "application_name",
            &["set application_name = 'it''s \\ \"odd\" \u{1F600}'"],
        ),
        ("client_encoding", "client_encoding", &["set client_encoding = 'latin1'"]),
        ("set names", "client_encoding", &["set names 'LATIN1'"]),
        (
            "standard_conforming_strings",
            "standard_conforming_strings",
            &["set standard_conforming_strings = off"],
        ),
        ("extra_float_digits", "extra_float_digits", &["set extra_float_digits = -3"]),
        (
            "default_transaction_read_only",
            "default_transaction_read_only",
            &["set default_transaction_read_only = on"],
        ),
        (
            "session characteristics",
            "default_transaction_isolation",
            &["set session characteristics as transaction isolation level serializable"],
        ),
        (
            "session characteristics, more",
            "default_transaction_deferrable",
            &["set session characteristics as transaction read only, deferrable"],
        ),
        ("client_min_messages", "client_min_messages", &["set client_min_messages to 'error'"]),
        ("default", "work_mem", &["set work_mem = '7MB'", "set work_mem to default"]),
        ("from current", "work_mem", &["set work_mem from current"]),
        ("session", "work_mem", &["set session work_mem = '7MB'"]),
        (
            "mixed case and comments",
            "work_mem",
            &["/* a */ SeT /* b */ Session -- c\n WORK_MEM /**/ TO '7MB' ; "],
        ),
        ("quoted name", "work_mem", &["set \"work_mem\" = '7MB'"]),
        ("dollar quotes are no literal here", "work_mem", &["set work_mem = $$7MB$$"]),
        ("escape string", "app.custom", &["set app.custom = E'a\\nb\\'c'"]),
        ("unicode string", "app.custom", &["set app.custom = U&'d\\0061t'"]),
        ("a word", "app.custom", &["set app.custom = MiXed"]),
        ("a number", "app.custom", &["set app.custom = 1.50"]),
        ("seed", "seed", &["set seed = 0.5"]),
        ("an unknown one", "nosuch", &["set nosuch = 1"]),
        ("a bad value", "work_mem", &["set work_mem = 'many'"]),
        ("one that needs a superuser", "log_statement", &["set log_statement = 'all'"]),
        ("one that needs a restart", "shared_buffers", &["set shared_buffers = '1MB'"]),
    ]);
}

#[test]
fn a_setting_follows_its_transaction() {
    follow_each(&[
        ("commit", "work_mem", &["begin", "set work_mem = '7MB'", "commit"]),
        ("rollback", "work_mem", &["begin", "set work_mem = '7MB'", "rollback"]),
        (
            "rollback of the second",
            "work_mem",
            &["set work_mem = '6MB'", "begin", "set work_mem = '7MB'", "rollback"],
        ),
        ("failed, then commit", "work_mem", &["begin", "set work_mem = '7MB'", "select 1/0", "commit"]),
        ("a failed set", "work_mem", &["begin", "set work_mem = '7MB'", "set work_mem = 'x'", "rollback"]),
        ("end", "timezone", &["begin", "set timezone = 'Japan'", "end"]),
        ("abort", "timezone", &["begin", "set timezone = 'Japan'", "abort"]),
        (
            "savepoint released",
            "work_mem",
            &["begin", "savepoint a", "set work_mem = '7MB'", "release a", "commit"],
        ),
        (
            "savepoint rolled back",
            "work_mem",
            &[
                "begin",
                "set work_mem = '6MB'",
                "savepoint a",
                "set work_mem = '7MB'",
                "rollback to a",
                "commit",
            ],
        ),
        (
            "savepoint after an error",
            "work_mem",
            &[
                "begin",
                "set work_mem = '6MB'",
                "savepoint a",
                "set work_mem = '7MB'",
                "select 1/0",
                "rollback to savepoint a",
                "commit",
            ],
        ),
        (
            "savepoints of one name",
            "work_mem",
            &[
                "begin",
                "set work_mem = '5MB'",
                "savepoint a",
                "set work_mem = '6MB'",
                "savepoint a",
                "set work_mem = '7MB'",
                "rollback to a",
                "release a",
                "rollback to a",
                "commit",
            ],
        ),
        (
            "nested savepoints",
            "timezone",
            &[
                "begin",
                "savepoint a",
                "set timezone = 'Japan'",
                "savepoint b",
                "set timezone = 'Portugal'",
                "rollback to a",
                "commit",
            ],
        ),
        ("set local", "work_mem", &["begin", "set local work_mem = '7MB'", "show work_mem", "commit"]),
        (
            "set, then set local",
            "work_mem",
            &["begin", "set work_mem = '6MB'", "set local work_mem = '7MB'", "commit"],
        ),
        (
            "set local, then set",
            "work_mem",
            &["begin", "set local work_mem = '7MB'", "set work_mem = '6MB'", "commit"],
        ),
        ("set local, reported", "timezone", &["begin", "set local timezone = 'Japan'", "commit"]),
        ("set local outside", "work_mem", &["set local work_mem = '7MB'"]),
        (
            "set local time zone",
            "timezone",
            &["begin", "set local time zone 'Japan'", "show timezone", "commit"],
        ),
        ("reset rolled back", "work_mem", &["set work_mem = '6MB'", "begin", "reset work_mem", "rollback"]),
        ("reset all rolled back", "work_mem", &["set work_mem = '6MB'", "begin", "reset all", "rollback"]),
        ("reset all", "work_mem", &["set work_mem = '6MB'", "set timezone = 'Japan'", "reset all"]),
        (
            "commit and chain",
            "work_mem",
            &[
                "begin",
                "set work_mem = '7MB'",
                "commit and chain",
                "set work_mem = '8MB'",
                "rollback and chain",
                "commit",
            ],
        ),
        (
            "prepared transaction",
            "work_mem",
            &[
                "begin",
                "set work_mem = '7MB'",
                "select txid_current()*0",
                "prepare transaction 'settings'",
                "rollback prepared 'settings'",
            ],
        ),
        (
            "transaction modes",
            "default_transaction_read_only",
            &["begin", "set transaction read only", "show transaction_read_only", "commit"],
        ),
    ]);
}

#[test]
fn a_setting_in_a_query_of_several_statements() {
    follow_each(&[
        ("among others", "work_mem", &["select 1; set work_mem = '7MB'; select 2"]),
        ("two settings", "timezone", &["set work_mem = '7MB'; set timezone = 'Japan'"]),
        ("twice", "work_mem", &["set work_mem = '6MB'; set work_mem = '7MB'"]),
        ("implicit transaction fails later", "work_mem", &["set work_mem = '7MB'; select 1/0"]),
        ("implicit transaction, reported, fails later", "timezone", &["set timezone = 'Japan'; select 1/0"]),
        ("begin and commit inside", "work_mem", &["begin; set work_mem = '7MB'; commit; select 1/0"]),
        (
            "begin and rollback inside",
            "work_mem",
            &["set work_mem = '6MB'; begin; set work_mem = '7MB'; rollback"],
        ),
        ("rollback inside", "work_mem", &["begin; set work_mem = '6MB'; rollback; set work_mem = '7MB'"]),
        (
            "savepoint inside",
            "work_mem",
            &["begin; savepoint a; set work_mem = '6MB'; rollback to a; commit"],
        ),
        ("left open", "work_mem", &["begin; set work_mem = '7MB'", "commit"]),
        ("syntax error at the end", "work_mem", &["set work_mem = '7MB'; selec"]),
        (
            "comments and quotes around",
            "work_mem",
            &[
                "select ';set work_mem = ''9MB'''; /* ; set work_mem = '9MB' */ set work_mem = '7MB' -- ; reset all",
            ],
        ),
        ("dollar quotes around", "work_mem", &["select $a$;set work_mem = '9MB';$a$; set work_mem = '7MB'"]),
        ("in the text of nothing", "work_mem", &["select 'set work_mem = 1'"]),
    ]);
}
