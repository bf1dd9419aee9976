//! What holds for any text.

use proptest::prelude::*;

use super::*;

/// Texts of words and of characters that open, close and divide.
fn texts() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![prop::sample::select(PIECES).prop_map(str::to_owned), "[a-zé$]{1,3}", "[ -~\n]{0,3}",];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

const PIECES: &[&str] = &[
    "'",
    "\"",
    "$$",
    "$a$",
    "--",
    "/*",
    "*/",
    "\n",
    ";",
    "(",
    ")",
    ",",
    ".",
    "::",
    "E'",
    "U&'",
    "U&\"",
    "\\",
    "''",
    " ",
    "select ",
    "set ",
    "set x = ",
    "prepare ",
    "execute ",
    "with ",
    "create function f() ",
    "begin atomic ",
    "end ",
    "set_config",
    "uescape '!'",
    "as ",
    "f(",
    "0x1",
    "1.5e",
    "pg_temp ",
    "listen x",
    "deallocate ",
];

/// Texts that leave no string, comment, parenthesis or body open.
fn closed() -> impl Strategy<Value = String> {
    let statement = prop::sample::select(&[
        "select 1",
        "select ';' /* ; */",
        "set x = 'a;b'",
        "listen \"x;y\"",
        "prepare p as select $$;$$",
        "create rule r as on insert to t do (select 1; select 2)",
        "create function f() returns int begin atomic select 1; end",
        "insert into t (a) values (f(1)) -- ;\n",
        "rollback to x",
        "",
    ]);
    prop::collection::vec(statement, 0..4).prop_map(|statements| statements.join(" ; "))
}

fn all(text: &str) -> Vec<(String, Effect, Marks)> {
    Statements::new(text.as_bytes(), Strings::Standard)
        .map(|each| (text[each.span].to_owned(), without_spans(each.effect), each.marks))
        .collect()
}

fn without_spans(mut effect: Effect) -> Effect {
    if let Effect::Prepare { name } | Effect::Execute { name } | Effect::Deallocate { name } = &mut effect {
        name.span = 0..0;
    }
    effect
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200), standard: bool) {
        scan(&text, if standard { Strings::Standard } else { Strings::Backslash });
    }

    #[test]
    fn every_statement_and_name_is_where_it_says(text in texts(), standard: bool) {
        let script = scan(text.as_bytes(), if standard { Strings::Standard } else { Strings::Backslash });
        let mut end = 0;
        for statement in script.statements {
            prop_assert!(end <= statement.span.start && statement.span.start < statement.span.end);
            end = statement.span.end;
            prop_assert!(end <= text.len());
            if let Effect::Prepare { name } | Effect::Execute { name } | Effect::Deallocate { name } =
                statement.effect
            {
                prop_assert!(statement.span.start < name.span.start && name.span.end <= end);
                prop_assert!(name.text.len() <= 63);
            }
        }
    }

    #[test]
    fn statements_are_told_as_if_they_were_alone(one in closed(), two in closed()) {
        let apart = [all(&one), all(&two)].concat();
        prop_assert_eq!(all(&format!("{one};{two}")), apart);
    }

    #[test]
    fn what_is_quoted_does_nothing(text in texts()) {
        let doubled = text.replace('\'', "''");
        let dollars = text.replace('$', "");
        let comment = text.replace("/*", "").replace("*/", "").replace(['*', '/'], "");
        let line = text.replace(['\n', '\r'], " ");
        for quoted in [
            format!("select '{doubled}'"),
            format!("select $tag${dollars}$tag$"),
            format!("select 1 /* {comment} */"),
            format!("select 1 -- {line}"),
            format!("select 1 as \"x{}\"", text.replace('"', "\"\"")),
        ] {
            prop_assert_eq!(scan(quoted.as_bytes(), Strings::Standard), Script::default(), "{}", quoted);
        }
    }
}
