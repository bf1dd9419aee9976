//! Texts and what they do.

use super::*;

#[test]
fn transaction_control_is_told_and_lists_nothing() {
    check(&[
        ("begin", "Begin"),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", "Begin"),
        ("commit and chain", "Commit"),
        ("END", "Commit"),
        ("prepare transaction 'x'", "Commit"),
        ("commit prepared 'x'", "-"),
        ("rollback prepared 'x'", "-"),
        ("rollback", "Rollback"),
        ("abort work", "Rollback"),
        ("ROLLBACK AND CHAIN", "Rollback"),
        ("rollback to x", "Savepoint"),
        ("ROLLBACK TRANSACTION TO SAVEPOINT x", "Savepoint"),
        ("savepoint to", "Savepoint"),
        ("release savepoint x", "Savepoint"),
    ]);
    let script = scan(b"begin; select 1; commit", Strings::Standard);
    assert_eq!((script.statements.len(), script.marks), (0, Marks::CONTROL));
    assert_eq!(scan(b"begin;", Strings::Standard).marks, Marks::NONE);
    let script = scan(b"begin; savepoint a;", Strings::Standard);
    assert_eq!((script.statements.len(), script.marks), (2, Marks::CONTROL));
}

#[test]
fn a_plain_set_is_told_exactly() {
    check(&[
        ("set work_mem = '77MB'", "Set work_mem=77MB"),
        ("SET SESSION Work_Mem TO 100", "Set work_mem=100"),
        ("set search_path = A, \"B\", 'c, d'", "Set search_path=a|B|c, d"),
        ("set \"TimeZone\" = 'UTC'", "Set timezone=UTC"),
        ("set DateStyle to ISO, mdy;", "Set datestyle=iso|mdy"),
        ("set App.User_Id = '5'", "Set app.user_id=5"),
        ("set session session.x = 1", "Set session.x=1"),
        ("set local.x = 1", "Set local.x=1"),
        ("set a.b.c = on", "Set a.b.c=on"),
        ("set geqo to off", "Set geqo=off"),
        ("set x = -5", "Set x=-5"),
        ("set x = +5", "Set x=5"),
        ("set x = - 1.50e3", "Set x=-1.50e3"),
        ("set x = 0x1F", "Set x=31"),
        ("set x = 1_000", "Set x=1000"),
        ("set x = 010", "Set x=10"),
        ("set x = 99999999999", "Set x=99999999999"),
        (r"set x = E'a\tb\'c\x41\101\u00e9\U0001F600\ud83d\ude00'", "Set x=a\tb'cAAé😀😀"),
        (r"set x = U&'d\0061t\+000061'", "Set x=data"),
        (r"set x = U&'d!0061t!!' uescape '!'", "Set x=dat!"),
        ("set x = 'it''s'", "Set x=it's"),
        ("set x = 'a' -- more\n  'b'", "Set x=ab"),
        ("set x = $tag$a'$b$tag$", "Set x=a'$b"),
        (r"set x = 'a\'", r"Set x=a\"),
        ("set/**/x/* /* */ */=/**/y", "Set x=y"),
        ("set time zone 'Japan'", "Set timezone=Japan"),
        ("set time zone -7", "Set timezone=-7"),
        ("set session time zone utc", "Set timezone=utc"),
        ("SET TIMEZONE TO 'UTC'", "Set timezone=UTC"),
        ("set names 'latin1'", "Set client_encoding=latin1"),
        ("set schema 'x'", "Set search_path=x"),
        ("set role admin", "Set role=admin"),
        ("set role 'Admin'", "Set role=Admin"),
        ("set role to \"Admin\"", "Set role=Admin"),
        ("set role none", "Set role=none"),
        ("set xml option document", "Set xmloption=document"),
        ("set search_path = pg_temp, public", "Set search_path=pg_temp|public PROBE|TEMP"),
    ]);
}

#[test]
fn a_reset_is_told_exactly() {
    check(&[
        ("reset work_mem", "Reset work_mem CLEANS"),
        ("RESET App.X", "Reset app.x CLEANS"),
        ("set work_mem to default", "Reset work_mem CLEANS"),
        ("set session work_mem = default", "Reset work_mem CLEANS"),
        ("set time zone local", "Reset timezone CLEANS"),
        ("set time zone default", "Reset timezone CLEANS"),
        ("reset time zone", "Reset timezone CLEANS"),
        ("set names", "Reset client_encoding CLEANS"),
        ("set names default", "Reset client_encoding CLEANS"),
        ("reset role", "Reset role CLEANS"),
        ("reset all", "ResetAll CLEANS"),
        ("reset transaction isolation level", "CLEANS"),
        ("reset session authorization", "PROBE|CLEANS|AUTHORIZATION"),
        ("reset x y", "PROBE|CLEANS"),
        ("discard all", "DiscardAll CLEANS"),
        ("discard temp", "CLEANS"),
    ]);
}

#[test]
fn a_set_that_cannot_be_followed_is_probed() {
    check(&[
        ("set local work_mem = '1MB'", "-"),
        ("set local session authorization x", "-"),
        ("set transaction read only", "-"),
        ("set transaction snapshot 'x'", "-"),
        ("set constraints all deferred", "-"),
        ("set session characteristics as transaction read only", "PROBE"),
        ("set session authorization x", "PROBE|CLEANS|AUTHORIZATION"),
        ("set session authorization default", "PROBE|CLEANS|AUTHORIZATION"),
        ("set time zone interval '1' hour to minute", "PROBE"),
        ("set x from current", "PROBE"),
        ("set x = a b", "PROBE"),
        ("set x = a, default", "PROBE"),
        ("set", "PROBE"),
        ("set x = (1); set y = 2", "PROBE; Set y=2"),
        (r"set x = E'\xff'", "PROBE"),
        (r"set x = E'\v'", "PROBE"),
        ("set x = 'open", "PROBE"),
    ]);
}

#[test]
fn set_config_is_told_where_it_is_plain() {
    check(&[
        ("select set_config('Work_Mem', '1MB', false)", "SetConfig work_mem=1MB CONFIG"),
        ("SELECT pg_catalog.set_config('search_path', '', false);", "SetConfig search_path= CONFIG"),
        ("select set_config('a', 'b', true)", "-"),
        ("select set_config($1, $2, true), set_config('c', f(1), 'on')", "PROBE|SEQUENCE_SET"),
        ("select set_config($1, $2, true), set_config('c', lower(f), 'on')", "-"),
        ("select set_config($1, $2, $3)", "PROBE|CONFIG"),
        ("select set_config('a', 'b', true or false)", "PROBE|CONFIG"),
        ("select set_config('a', 'b', not true)", "PROBE|CONFIG"),
        ("select set_config('a', set_config('c', 'd', false), true)", "PROBE|CONFIG"),
        ("select set_config(is_local => true, setting_name => 'a', new_value => 'b')", "PROBE|CONFIG"),
        ("select set_config('a', 'b', false) from t", "PROBE|CONFIG"),
        ("select set_config('a', 'b', false), 1", "PROBE|CONFIG"),
        ("select set_config('search_path', 'pg_temp', false)", "PROBE|CONFIG"),
        ("select \"set_config\"('a', 'b', false)", "PROBE|CONFIG"),
        ("with x as (select set_config('a', 'b', false)) select * from x", "PROBE|CONFIG"),
    ]);
}

#[test]
fn prepared_statements_are_named() {
    check(&[
        ("prepare A as select 1", "Prepare a PROBE|PREPARES"),
        ("prepare \"A\"\"b\" (int, text) as select $1", "Prepare A\"b PROBE|PREPARES"),
        ("prepare transaction as select 1", "Prepare transaction PROBE|PREPARES"),
        ("execute a(1, now())", "Execute a PROBE|WRITES|SEQUENCE_SET"),
        ("explain (analyze, costs off) execute a", "Execute a PROBE|WRITES|SEQUENCE_SET"),
        ("explain analyze verbose execute a", "Execute a PROBE|WRITES|SEQUENCE_SET"),
        ("create table t as execute a(1)", "Execute a PROBE|WRITES|SEQUENCE_SET"),
        ("deallocate a", "Deallocate a CLEANS"),
        ("deallocate prepare A", "Deallocate a CLEANS"),
        ("deallocate prepare", "Deallocate prepare CLEANS"),
        ("deallocate prepare all", "DeallocateAll CLEANS"),
        ("deallocate all", "DeallocateAll CLEANS"),
        ("deallocate \"all\"", "Deallocate all CLEANS"),
        (r#"deallocate U&"\0061!" uescape '?' "#, r"Deallocate \0061! CLEANS"),
        (r#"deallocate U&"\0061""#, "Deallocate a CLEANS"),
    ]);
}

#[test]
fn a_name_is_as_the_server_knows_it_and_its_span_as_the_client_wrote_it() {
    let text = "execute \"a\"\"b\" (1); deallocate U&\"x\" uescape '!' ;";
    let script = scan(text.as_bytes(), Strings::Standard);
    let written = script.statements.iter().map(|statement| match &statement.effect {
        Effect::Execute { name } | Effect::Deallocate { name } => &text[name.span.clone()],
        other => panic!("{other:?}"),
    });
    let names: Vec<_> = written.collect();
    assert_eq!(names, ["\"a\"\"b\"", "U&\"x\" uescape '!'"]);
    let spans: Vec<_> = script.statements.iter().map(|statement| &text[statement.span.clone()]).collect();
    assert_eq!(spans, ["execute \"a\"\"b\" (1)", "deallocate U&\"x\" uescape '!'"]);

    let long = format!("{}é", "a".repeat(62));
    let script = scan(format!("deallocate {long}").as_bytes(), Strings::Standard);
    assert!(matches!(&script.statements[0].effect, Effect::Deallocate { name } if name.text == [b'a'; 62]));
}

#[test]
fn what_only_the_server_can_tell_is_marked() {
    check(&[
        ("listen x", "PROBE|LISTENS"),
        ("unlisten *", "CLEANS"),
        ("notify x, 'y'", "-"),
        ("load 'auto_explain'", "PROBE|LOAD"),
        ("create temp table t (i int)", "PROBE|WRITES|TEMP"),
        ("CREATE LOCAL TEMPORARY TABLE t AS SELECT 1", "PROBE|WRITES|TEMP"),
        ("create or replace temp view v as select 1", "PROBE|WRITES|DEFINES|TEMP"),
        ("create table pg_temp.t (i int)", "PROBE|WRITES|TEMP"),
        ("create table \"pg_temp\".t (i int)", "PROBE|WRITES|TEMP"),
        ("drop table PG_TEMP_12.t", "PROBE|CLEANS|WRITES|TEMP"),
        ("select 1 into temp t", "PROBE|TEMP"),
        ("select 1 into local temporary table t", "PROBE|TEMP"),
        ("insert into temp (a) values (1)", "WRITES|SEQUENCE_SET"),
        ("declare c cursor with hold for select 1", "PROBE|HOLDS"),
        ("declare c cursor without hold for select 1", "-"),
        ("close c", "CLEANS"),
        ("do $$ begin listen x; end $$", "PROBE|WRITES|SEQUENCE_SET"),
        ("call p(1)", "PROBE|WRITES|SEQUENCE_SET"),
        ("select pg_advisory_lock(1)", "PROBE|LOCKS"),
        ("select PG_TRY_ADVISORY_LOCK_SHARED (1)", "PROBE|LOCKS"),
        ("select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)", "-"),
        ("select pg_advisory_unlock(1)", "CLEANS"),
        ("select nextval('s'), setval('s', 1)", "SEQUENCE_SET"),
        ("select currval('s'), lastval()", "SEQUENCE_READ"),
        ("select f(1)", "PROBE|SEQUENCE_SET"),
        ("select public.lower('x')", "PROBE|SEQUENCE_SET"),
        ("select pg_catalog.lower('x')", "-"),
        ("select db.pg_catalog.lower('x')", "PROBE|SEQUENCE_SET"),
        ("frobnicate", "PROBE"),
        ("truncate t", "WRITES"),
        ("copy t (a, b) from stdin with (format csv)", "WRITES|SEQUENCE_SET"),
        ("copy t (a, b) from stdin (format csv)", "WRITES|SEQUENCE_SET"),
        ("copy (select * from t) to stdout", "-"),
        ("copy (select f(a) from t) to stdout (format csv)", "PROBE|SEQUENCE_SET"),
        ("explain analyze insert into t values (1)", "WRITES|SEQUENCE_SET"),
        ("explain (select f(1))", "PROBE|SEQUENCE_SET"),
        ("with x as (delete from t returning *) select * from x", "WRITES"),
        ("update t set a = default", "WRITES|SEQUENCE_SET"),
        ("update pg_settings set setting = '1' where name = 'a'", "PROBE|WRITES|CONFIG"),
        ("create or replace function f(a int) returns int language sql as 'select 1'", "WRITES|DEFINES"),
        ("drop trigger x on t", "CLEANS|WRITES|DEFINES"),
        ("create extension hstore", "PROBE|WRITES|DEFINES"),
        ("alter table t disable trigger all", "WRITES|SEQUENCE_SET|DEFINES"),
        ("refresh materialized view v", "PROBE|WRITES|SEQUENCE_SET"),
    ]);
}

#[test]
fn a_call_is_seen_wherever_an_expression_may_stand() {
    for text in [
        "select a, f(1) from t",
        "select distinct on (a) f(b) from t",
        "select 1 operator(pg_catalog.+) f(2)",
        "delete from t returning with (old as o) f(o.x)",
        "select * from f(1)",
        "select * from a, f(1) x",
        "select * from a join b on f(a.x, b.x)",
        "select * from a cross join lateral f(a.x)",
        "select * from t where a = 1 and f(a)",
        "select * from t where not f(a)",
        "select * from t order by f(a)",
        "select * from t limit f(1)",
        "select x between f(1) and 2",
        "select case f(1) when 1 then 2 end",
        "select case when true then f(1) end",
        "select -f(1)",
        "select array[f(1)]",
        "select a[f(1)] from t",
        "select x at time zone f(1)",
        "select x like 'a' escape f(1)",
        "select lower(f(1))",
        "select \"f\"(1)",
        "select f /* */ (1)",
        "select f\n(1)",
        "select extract(epoch from f(1))",
        "delete from t using f(1) x",
        "alter table t alter a type int using f(a)",
        "create table t as select * from a join b on f(a.x)",
        "create index on t (f(a))",
        "insert into t select f(1)",
        "insert into t (a) values (f(1))",
        "insert into t (a) values (1) on conflict (a) do update set a = f(1)",
        "update t set a = f(1)",
        "values (f(1))",
        "select x::timestamp with time zone, f(1)",
        "with x as (select 1) select 1, f(1)",
        "with x as (select f(1)) select 1",
        "select cast(f(1) as int)",
        "select count(*) filter (where f(a)) from t",
        "select sum(a) over (partition by f(a)) from t",
        "select überprüfe(1)",
        "select set_config('a', f(1), true)",
    ] {
        assert!(scan(text.as_bytes(), Strings::Standard).marks.contains(Marks::PROBE), "{text}");
    }
}

#[test]
fn semicolons_inside_of_a_statement_do_not_end_it() {
    for (text, statements) in [
        ("", 0),
        (" ;; -- nothing\n ; /* ; */", 0),
        ("select 1; select 2", 2),
        ("select ';'; select \";\"; select $$;$$; select $a$;$$;$a$; select E'\\';'", 5),
        ("select 1 -- ;\n; select 2", 2),
        ("select 1 /* ; /* ; */ ; */; select 2", 2),
        ("select 1 */* ; */ 2; select 2", 2),
        ("select 1 +-- ;\n 2; select 2", 2),
        ("select 'a'\n  ';'; select 2", 2),
        ("select a$b$; select 1; $b$", 3),
        ("select $1; select $2", 2),
        ("create rule r as on insert to t do (select 1; select 2); select 3", 2),
        (
            "create function f() returns int begin atomic select 1; select case when true then 2 end; end; select 3",
            2,
        ),
        ("create procedure p() begin atomic end; select 3", 2),
        ("create function f() returns int return 1; select 3", 2),
        ("create view v as select begin atomic from t; select 3", 2),
        ("begin; create function f() returns int begin atomic; select 1 as end; end; end", 3),
    ] {
        assert_eq!(Statements::new(text.as_bytes(), Strings::Standard).count(), statements, "{text}");
    }
}

#[test]
fn backslashes_escape_when_the_setting_says_so() {
    let text = r"select 'a\'; listen x; --'";
    assert_eq!(told(text), "-; PROBE|LISTENS");
    assert_eq!(told_as(text, Strings::Backslash), "-");
    assert_eq!(told_as(r"set x = 'a\tb'", Strings::Backslash), "Set x=a\tb");
}
