//! What users type, and what they mistype.

use super::*;

fn one(text: &str) -> Command {
    let commands = parse(text).unwrap();
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    command.clone()
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn commands_are_understood_in_any_case_with_and_without_a_semicolon() {
    for text in ["SHOW POOLS", "show pools;", " Show\n\tPools ; ", "show \"pools\""] {
        assert_eq!(one(text), Command::Show(Show::Pools), "{text}");
    }
}

#[test]
fn every_word_of_the_list_can_follow_show() {
    for (word, show) in SHOWS {
        assert_eq!(one(&format!("SHOW {}", word.to_ascii_uppercase())), Command::Show(show));
    }
}

#[test]
fn comments_are_skipped_wherever_space_may_be() {
    assert_eq!(
        one("-- who is there?\nSHOW/* all /* of */ them */CLIENTS -- end"),
        Command::Show(Show::Clients)
    );
}

#[test]
fn text_without_a_command_is_no_command() {
    for text in ["", " \n", ";", " ; ;", "-- ping", "/* */"] {
        assert_eq!(parse(text).unwrap(), [], "{text}");
    }
}

#[test]
fn several_commands_come_in_order() {
    let expected = [Command::Pause(Some("a".into())), Command::Reload, Command::Show(Show::Pools)];
    assert_eq!(parse("PAUSE a; RELOAD;; SHOW POOLS").unwrap(), expected);
}

#[test]
fn nothing_runs_when_one_of_several_commands_is_not_understood() {
    assert_eq!(refused("RELOAD; SHOW NONSENSE"), "invalid command 'RELOAD; SHOW NONSENSE', use SHOW HELP;");
}

#[test]
fn a_database_name_keeps_its_case_and_may_be_quoted() {
    assert_eq!(one("PAUSE Orders"), Command::Pause(Some("Orders".into())));
    assert_eq!(one("RESUME \"a \"\"b\"\" c\""), Command::Resume(Some("a \"b\" c".into())));
    assert_eq!(one("RECONNECT my-app.v2"), Command::Reconnect(Some("my-app.v2".into())));
    assert_eq!(one("reconnect"), Command::Reconnect(None));
}

#[test]
fn a_plain_shutdown_is_immediate_as_in_pgbouncer() {
    assert_eq!(one("SHUTDOWN"), Command::Shutdown(ShutdownMode::Immediate));
    assert_eq!(one("shutdown wait_for_servers"), Command::Shutdown(ShutdownMode::WaitForServers));
    assert_eq!(one("SHUTDOWN WAIT_FOR_CLIENTS;"), Command::Shutdown(ShutdownMode::WaitForClients));
}

#[test]
fn what_an_operator_says_is_read_as_it_is_written() {
    let stamp = Stamp { epoch: 7, sequence: 2 };
    let limit = budget::Command::Limit { stamp, limit: 20, budget: 77, max_connections: 100 };
    for command in [budget::Command::Claim { epoch: u64::MAX }, limit] {
        assert_eq!(one(&command.to_string()), Command::Order(Order::Command(command)));
        assert_eq!(one(&command.to_string().to_lowercase()), Command::Order(Order::Command(command)));
    }
    assert_eq!(one("LIMIT 5;"), Command::Order(Order::Lower(5)));
    assert_eq!(one("listen Budget"), Command::Listen(Channel::Budget));
    assert_eq!(one("LISTEN \"budget\""), Command::Listen(Channel::Budget));
    assert_eq!(one("listen configuration"), Command::Listen(Channel::Configuration));
    assert_eq!(one("unlisten Budget"), Command::Unlisten(Some(Channel::Budget)));
    for text in ["UNLISTEN", "UNLISTEN *"] {
        assert_eq!(one(text), Command::Unlisten(None));
    }
}

#[test]
fn what_is_no_command_is_quoted_back() {
    for text in [
        "SELECT 1",
        "SHOW",
        "SHOW POOLS NOW",
        "RELOAD all",
        "PAUSE a b",
        "CLAIM",
        "CLAIM EPOCH",
        "CLAIM EPOCH -1",
        "CLAIM EPOCH 18446744073709551616",
        "LIMIT",
        "LIMIT many",
        "LIMIT 4294967296",
        "LIMIT 5 OF 9",
        "LIMIT 5 OF 9 SEQUENCE 1 EPOCH 2 MAX_CONNECTIONS 9",
        "LIMIT 5 OF 9 EPOCH 1 SEQUENCE 2 MAX_CONNECTIONS 9 9",
        "LISTEN",
        "LISTEN news",
        "LISTEN *",
        "UNLISTEN news",
        "PAUSE \"\"",
        "SHUTDOWN now",
        "\"SHOW\" POOLS",
        "SHOW POOLS \\G",
        "/* open",
        "PAUSE \"open",
        "set x",
        "set x =",
    ] {
        assert_eq!(refused(text), format!("invalid command '{text}', use SHOW HELP;"));
    }
}

#[test]
fn a_long_command_is_quoted_in_part() {
    let message = refused(&"é".repeat(5000));
    assert!(message.chars().count() < 150, "{message}");
}

#[test]
fn commands_that_only_older_pgbouncers_have_are_told_apart_from_mistakes() {
    assert_eq!(refused("SUSPEND"), "SUSPEND is not supported");
    assert_eq!(refused("show fds"), "SHOW FDS is not supported");
}

#[test]
fn a_client_is_named_by_its_id_or_by_what_link_shows() {
    for text in ["KILL_CLIENT 12", "kill_client C12;", "KILL_CLIENT '12'"] {
        assert_eq!(one(text), Command::KillClient(12), "{text}");
    }
    for text in ["KILL_CLIENT", "KILL_CLIENT c12", "KILL_CLIENT S12", "KILL_CLIENT -1", "KILL_CLIENT 0x5589"]
    {
        assert_eq!(refused(text), "invalid client pointer supplied", "{text}");
    }
}

#[test]
fn parameters_that_drivers_set_are_ignored_and_settings_are_not() {
    assert_eq!(one("SET client_encoding TO 'UTF8'"), Command::SetIgnored("client_encoding".into()));
    assert_eq!(one("set extra_float_digits = 3"), Command::SetIgnored("extra_float_digits".into()));
    let set = |key: &str, value: &str| Command::Set { key: key.to_owned(), value: value.to_owned() };
    assert_eq!(one("SET Max_Client_Conn = 5"), set("max_client_conn", "5"));
    assert_eq!(one("set query_wait_timeout to 1.5;"), set("query_wait_timeout", "1.5"));
    assert_eq!(one("SET admin_users = 'ann, bob'"), set("admin_users", "ann, bob"));
    assert_eq!(one("SET pools.Reports.pool_size = 5"), set("pools.Reports.pool_size", "5"));
    assert_eq!(
        refused("SET admin_users = ann, bob"),
        "invalid command 'SET admin_users = ann, bob', use SHOW HELP;"
    );
}

#[test]
fn everything_that_changes_something_is_for_admins() {
    for text in ["RELOAD", "PAUSE", "RESUME", "RECONNECT", "SHUTDOWN", "KILL", "WAIT_CLOSE"] {
        assert_eq!(one(text).admin_only(), Some(text));
    }
    let long = "LIMIT 1 OF 1 EPOCH 1 SEQUENCE 1 MAX_CONNECTIONS 1";
    for (text, name) in [("CLAIM EPOCH 1", "CLAIM"), ("LIMIT 1", "LIMIT"), (long, "LIMIT")] {
        assert_eq!(one(text).admin_only(), Some(name));
    }
    for (text, name) in [
        ("DISABLE a", "DISABLE"),
        ("ENABLE a", "ENABLE"),
        ("KILL_CLIENT 1", "KILL_CLIENT"),
        ("SET max_client_conn = 1", "SET"),
    ] {
        assert_eq!(one(text).admin_only(), Some(name));
    }
    for text in ["SHOW CONFIG", "SHOW BUDGET", "LISTEN budget"] {
        assert_eq!(one(text).admin_only(), None);
    }
}

#[test]
fn every_command_has_a_heading_in_the_reference() {
    let reference = include_str!("../../../../docs/reference/admin.md");
    let headings: Vec<_> = reference.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let shows = SHOWS.map(|(word, _)| format!("SHOW {}", word.to_ascii_uppercase()));
    let acts = [
        "RELOAD",
        "PAUSE [db]",
        "RESUME [db]",
        "RECONNECT [db]",
        "DISABLE db",
        "ENABLE db",
        "KILL [db]",
        "KILL_CLIENT id",
        "WAIT_CLOSE [db]",
        "SET key = value",
        "CLAIM EPOCH e",
        "LIMIT n [OF b EPOCH e SEQUENCE s MAX_CONNECTIONS m]",
        "SHED n [EPOCH e]",
        "CONFIGURE 'bundle' [EPOCH e]",
        "LISTEN budget",
        "LISTEN configuration",
        "UNLISTEN [budget|configuration|*]",
        "SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
    ];
    let commands: Vec<_> = shows.iter().map(String::as_str).chain(acts).collect();
    for command in &commands {
        assert!(headings.contains(command), "docs/reference/admin.md lacks: ### {command}");
    }
    assert_eq!(headings.len(), commands.len(), "docs/reference/admin.md has a heading of no command");
}

#[test]
fn a_bundle_is_a_literal_with_or_without_an_epoch() {
    let mut bundle = Bundle::new("auth_file = 'users'\n");
    bundle.insert(std::path::Path::new("users"), "\"app\" \"it's secret\"\n");
    let literal = bundle.to_text().replace('\'', "\'\'");
    let parsed = |epoch| Command::Configure { bundle: Box::new(bundle.clone()), epoch };
    assert_eq!(one(&format!("CONFIGURE '{literal}'")), parsed(None));
    assert_eq!(one(&format!("configure '{literal}' epoch 7;")), parsed(Some(7)));
    assert_eq!(parsed(None).admin_only(), Some("CONFIGURE"));
    assert!(!format!("{:?}", parsed(None)).contains("secret"));
}

#[test]
fn a_faulty_bundle_is_not_quoted_back() {
    for text in [
        "CONFIGURE '{\"hunter2",
        "CONFIGURE 'hunter2'",
        "configure hunter2",
        "CONFIGURE '{}' hunter2",
        "SHOW POOLS; CONFIGURE 'hunter2",
        "CONFIGURE '{\"document\": \"\", \"files\": {\"a\": \"hunter2!\"}}'",
    ] {
        let told = parse(text).unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
