//! What we say of a SQL text is what PostgreSQL makes of it.

use std::collections::BTreeSet;

use pgpooler_core::sql::{Effect, Marks, Script, Strings, scan};
use pgpooler_test_support::RawClient;

use super::{server, tags, value};

/// Functions of PostgreSQL 16 to 18 that 15 does not have.
const NEWER: &str = "any_value array_reverse array_sample array_shuffle array_sort casefold crc32 crc32c date_add \
    date_subtract erf erfc gamma has_largeobject_privilege icu_unicode_version json_agg_strict \
    json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg_strict \
    jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict lgamma \
    pg_available_wal_summaries pg_basetype pg_column_toast_chunk_id pg_get_acl pg_get_loaded_modules \
    pg_get_wait_events pg_get_wal_summarizer_state pg_input_error_info pg_input_is_valid pg_log_standby_snapshot \
    pg_ls_summariesdir pg_numa_available pg_split_walfile_name pg_stat_get_backend_io pg_stat_get_io \
    pg_wal_summary_contents random_normal to_bin to_oct to_regtypemod unicode_assigned unicode_version \
    uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 xmltext";

/// Texts of several statements, which a server runs without an error; `DEALLOCATE ALL` follows each.
const TEXTS: &[&str] = &[
    "",
    ";;",
    " -- nothing; at all",
    "select 1",
    "select 1; select 2;",
    "select ';'; select ';' as \";\"; select $$;$$; select $a$;$$;$a$; select E'\\';'; select U&';'",
    "select 1 -- ;\n; select 2 /* ; /* ; */ ; */; select 3",
    "select 1 */* ; */ 2; select 2 +-- ;\n 2; select 3 - -1",
    "select 'a'\n  ';'; select 'a' -- '\n ';'; select 'a' /* ' */; select 2",
    "select 1 as a$b$; select 1 as \"$b$\"; select b'01', x'0f', n'x'; select 1.5e10, .5, 1.;",
    "begin; select 1; commit",
    "begin; savepoint a; rollback to a; release a; end",
    "set work_mem = '1MB'; reset work_mem; prepare a as select 1; execute a; deallocate a",
    "create temp table t (i int); create rule r as on insert to t do also (select 1; select 2); drop table t",
    "create function pg_temp.f() returns int begin atomic select 1; select case when true then 2 end; end; select 3",
    "create procedure pg_temp.p() begin atomic end; create or replace procedure pg_temp.p() begin atomic; select 1 as end; ; end; select 3",
    "create function pg_temp.g() returns int return 1; create view pg_temp.v as select 1 as begin, 2 as atomic; select 3",
    "create view pg_temp.w as select begin atomic from (select 1 as begin) x; drop view pg_temp.w; select 3",
    "select U&'d!0061t' uescape '!'; select U&\"d!0061t\" uescape '!' from (select 1 as dat) x; select 2",
    "select 1\r\n;\rselect 2\u{c};\tselect 3",
    "explain select 1; explain (costs off) select 1; (select 1); values (1); table pg_namespace",
    "declare c cursor with hold for select 1; fetch c; close c; listen x; unlisten *; discard plans",
];

/// As [`TEXTS`], with `standard_conforming_strings` off.
const BACKSLASHES: &[&str] =
    &[r"select 'a\'; select 1; --'", r"select 'a\\'; select '\';'; select E'\';'; select $$\$$; select 2"];

/// Where an expression may stand in another one; all are integers.
const EXPRESSIONS: &[&str] = &[
    "{}",
    "({})",
    "- {}",
    "1 + {}",
    "{} - 1",
    "abs({})",
    "case {} when 1 then 2 end",
    "case when true then {} end",
    "case when {} = 2 then 1 else {} end",
    "coalesce(null, {})",
    "greatest(1, {})",
    "nullif({}, 5)",
    "(array[{}])[1]",
    "(array[1])[{}]",
    "cast({} as int)",
    "{}::int",
    "1 operator(pg_catalog.+) {}",
    "operator(pg_catalog.-) {}",
    "(row({}, 1)).f1",
    "(select {})",
    "(select {} as name)",
    "(select {} \"x\")",
    "(values ({}))",
    "(select distinct on (1) {})",
    "(select distinct on (a) {} from (values (1)) t (a))",
    "(select all {})",
    "(select max(x) from (select {}) t (x))",
    "(select count(*) filter (where {} = 1)::int)",
    "(select sum({}) over (partition by {} order by {})::int)",
    "(select count(*) over w::int from (select 1) t window w as (partition by {}))",
    "(select percentile_disc(0.5) within group (order by {}))",
    "(with x as (select {} as a) select a from x)",
    "(with x (a) as (values (1)), y (b) as materialized (select {}) select a + b from x, y)",
    "(with x (a) as (select 1) select {} from x)",
    "(with x (a) as (select 1) select a, {} from x limit 0) is null)::int + (1",
    "(select {} from generate_series(1, {}) g (i) limit 1)",
    "(select 1 from (values (1)) v (a) join (values (1)) w (b) on {} = 1)",
    "(select 1 from (values (1)) v (a), lateral (select {}) w (b) where a = {})",
    "(select a from (select 1 as a) s order by {} limit {} offset {} - 1)",
    "(select a from (select 1 as a) s group by a, {} having {} = 1)",
    "(select 1 fetch first {} rows only)",
    "(select 1 union all select {} limit 1)",
    "(select count(*)::int from rows from (generate_series(1, {}), generate_series({}, 1)) as r (a, b))",
    "extract(epoch from make_interval(secs => {}))::int",
    "length(repeat('a', {}))",
    "position('a' in repeat('a', {}))",
    "length(overlay('abc' placing 'x' from {} for {}))",
    "length(substring('abc' from {}))",
    "length(trim(both chr({}) from chr({})))",
    "(exists (select {}))::int",
    "({} in (1, {}))::int",
    "({} not in (select {}))::int",
    "({} = any (array[{}]))::int",
    "({} between symmetric {} and {})::int",
    "({} is distinct from {})::int",
    "(not {} = 1)::int",
    "(true and {} = 1 or {} = 2)::int",
    "(chr({}) like chr({}) escape chr({}))::int",
    "(chr({}) collate \"C\" < chr({}))::int",
    "(now() at time zone make_interval(hours => {}) is null)::int",
    "(timestamp with time zone 'epoch', {}) is null)::int + (1",
    "length(json_build_object('a', {})->>'a')",
    "grouping({})",
    "length(xmlserialize(content xmlelement(name a, {}) as text))",
];

/// Where an expression may stand in a statement on `calls (a int, b int)`.
const STATEMENTS: &[&str] = &[
    "select {}",
    "select 1, {}",
    "select distinct {}",
    "select distinct on (a) {} from calls",
    "values (1), ({})",
    "(select {}) union all (select {})",
    "select * from calls where a = {} for update",
    "select * from calls t (x, y) where {} = x",
    "select * from calls as t (x, y) join calls using (a) where {} = x",
    "select 'epoch'::timestamp with time zone, {}",
    "select interval '1' day, {}",
    "insert into calls values ({}, default)",
    "insert into calls (a) select {}",
    "insert into calls (a) overriding user value values ({})",
    "insert into calls as c (a) values (1) returning {}",
    "insert into calls (a) values (1) on conflict (a) where {} = 1 do nothing",
    "with x (a) as (select 1) insert into calls (a) select {} from x",
    "with x as (insert into calls (a) values ({}) returning a) select * from x",
    "update calls set a = {}, b = default",
    "update calls set (a, b) = ({}, 1)",
    "update calls set (a, b) = (select {}, 1)",
    "update calls c set a = 1 from (select {}) t (x) where {} = x returning {}",
    "delete from calls where a = {}",
    "delete from calls using (select 1) t (x) where x = {}",
    "merge into calls using (select {}) t (x) on a = {} when matched and {} = 1 then update set a = {} when not matched then insert (a) values ({})",
    "explain analyze select {}",
    "explain (analyze, costs off) insert into calls (a) values ({})",
    "copy (select {}) to stdout",
    "begin; declare c cursor for select {}; fetch c; rollback",
    "create table made as select {} as a; drop table made",
    "create table made (a) as values ({}); drop table made",
    "create materialized view made as select {} as a; drop materialized view made",
    "create table made (a int default {}, check (a = {})); drop table made",
    "alter table calls alter b type int using {}",
    "select 1; select {}",
];

fn superuser() -> RawClient {
    RawClient::login(&server().superuser()).unwrap()
}

/// Reads a text that ends with something to tell, so that every statement is.
fn read(text: &str, strings: Strings) -> (String, Script) {
    let text = format!("{text}\n; deallocate all");
    let script = scan(text.as_bytes(), strings);
    (text, script)
}

#[test]
fn a_text_has_as_many_statements_as_the_server_answers() {
    let mut client = superuser();
    let standard = TEXTS.iter().map(|text| (*text, Strings::Standard));
    let backslash = BACKSLASHES.iter().map(|text| (*text, Strings::Backslash));
    for (text, strings) in standard.chain(backslash) {
        if strings == Strings::Backslash {
            client.query("set standard_conforming_strings = off; set escape_string_warning = off").unwrap();
        }
        let (text, script) = read(text, strings);
        let answer = client.query(&text).unwrap();
        assert!(!tags(&answer).contains('E'), "{text}: {answer:?}");
        let completed = answer.iter().filter(|message| message.tag == b'C').count();
        assert_eq!(script.statements.len(), completed, "{text}");
    }
}

#[test]
fn a_statement_runs_alone_as_it_ran_in_its_text() {
    let mut client = superuser();
    for text in TEXTS {
        let (text, script) = read(text, Strings::Standard);
        for statement in script.statements {
            let part = &text[statement.span];
            let answer = client.query(part).unwrap();
            assert!(!tags(&answer).contains('E'), "{part}: {answer:?}");
            assert_eq!(answer.iter().filter(|message| message.tag == b'C').count(), 1, "{part}");
        }
    }
}

#[test]
fn a_setting_replayed_from_what_we_read_is_the_setting() {
    let mut client = superuser();
    for text in [
        "set work_mem = '77MB'",
        "SET SESSION Work_Mem TO 100",
        "set work_mem = 0100",
        "set search_path = A, \"B c\", 'd, e', $$f$$",
        "set DateStyle to German, mdy",
        "set \"TimeZone\" = 'Japan'",
        "set time zone -7",
        "set time zone 5.5",
        "set session time zone utc",
        "set timezone to +3",
        "set names 'latin1'",
        "set schema 'x\"y'",
        "set App.User_Id = -15",
        "set app.x = 123456789012",
        "set app.x = 1.50e3",
        "set app.x = on",
        r"set app.x = E'a\tb\'c\x41\101\u00e9\ud83d\ude00'",
        r"set app.x = U&'d!0061t!+01f600!!' uescape '!'",
        "set app.x = 'it''s' -- more\n  'b'",
        "set app.x to \"A\"\"b\"",
        "set xml option document",
        "set role pg_monitor",
        "set role none",
        "set extra_float_digits = -1",
        "set seq_page_cost = .5",
    ] {
        let script = scan(text.as_bytes(), Strings::Standard);
        let [Effect::Set { name, values }] =
            &*script.statements.into_iter().map(|each| each.effect).collect::<Vec<_>>()
        else {
            panic!("{text} is told")
        };
        let show = format!("select current_setting('{name}')");
        let literals: Vec<_> =
            values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
        let replay = format!("set {name} = {}", literals.join(", "));
        let (mut client, other) = (superuser(), &mut client);
        assert_eq!(tags(&client.query(text).unwrap()).replace('S', ""), "CZ", "{text}");
        assert_eq!(tags(&other.query(&replay).unwrap()).replace('S', ""), "CZ", "{replay}");
        assert_eq!(value(other, &show), value(&mut client, &show), "{text}");
        other.query("reset all; reset role").unwrap();
    }
}

#[test]
fn a_prepared_statement_has_the_name_that_we_read() {
    let mut client = superuser();
    let long = "é".repeat(40);
    for name in [
        "plain",
        "MiXed",
        "\"MiXed\"",
        "\"a\"\"b; \"",
        "transaction",
        "ünï$1",
        r#"U&"d\0061t\+0000e9" "#,
        "U&\"d!0061t\" uescape '!'",
        &long,
        &format!("\"x{long}\""),
    ] {
        let text = format!("prepare {name} as select 1");
        let script = scan(text.as_bytes(), Strings::Standard);
        let Some(Effect::Prepare { name: read }) = script.statements.first().map(|each| &each.effect) else {
            panic!("{text} is told")
        };
        assert_eq!(&text[read.span.clone()], name.trim_end());
        client.query(&text).unwrap();
        let known = value(&mut client, "select name from pg_prepared_statements");
        assert_eq!(String::from_utf8_lossy(&read.text), known, "{text}");
        client.query("deallocate all").unwrap();
    }
}

#[test]
fn every_function_that_we_call_built_in_is() {
    let ours = include_str!("../../../core/src/sql/builtin_functions.txt");
    let sql = "select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace";
    let mut known: BTreeSet<String> = server().sql(sql).unwrap().concat().into_iter().collect();
    known.extend(NEWER.split_whitespace().map(str::to_owned));
    let unknown: Vec<_> = ours.lines().filter(|name| !known.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn a_call_is_seen_wherever_the_server_takes_one() {
    let mut client = superuser();
    client.query("create table calls (a int, b int); create function call() returns int return 1").unwrap();
    let fill = |outer: &str, inner: &str| outer.replace("{}", inner);
    let nested = EXPRESSIONS.iter().flat_map(|outer| EXPRESSIONS.iter().map(move |inner| fill(outer, inner)));
    let selects = nested.map(|nested| format!("select {}", fill(&nested, "call()")));
    let statements =
        STATEMENTS.iter().flat_map(|outer| EXPRESSIONS.iter().map(move |inner| fill(outer, inner)));
    let mut taken = 0;
    for text in selects.chain(statements.map(|statement| fill(&statement, "call()"))) {
        let messages = client.query(&text).unwrap();
        if tags(&messages).contains('E') {
            client.query("rollback").unwrap();
            continue;
        }
        taken += 1;
        assert!(scan(text.as_bytes(), Strings::Standard).marks.contains(Marks::PROBE), "{text}");
    }
    assert!(taken > 3000, "only {taken} texts were taken");
}
