//! What ORMs send every day is not suspected of anything.

use super::*;

#[test]
fn queries_of_orms_are_not_marked() {
    for text in QUERIES {
        assert_eq!(scan(text.as_bytes(), Strings::Standard), Script::default(), "{text}");
    }
}

#[test]
fn writes_of_orms_are_marked_as_writes_only() {
    let writes = Marks::WRITES | Marks::SEQUENCE_SET;
    for text in WRITES {
        let script = scan(text.as_bytes(), Strings::Standard);
        assert!(script.marks.contains(Marks::WRITES), "{text}");
        assert!(writes.contains(script.marks) && script.statements.is_empty(), "{text}: {:?}", script.marks);
    }
}

const QUERIES: &[&str] = &[
    // Django
    r#"SELECT "auth_user"."id", "auth_user"."name" FROM "auth_user" WHERE ("auth_user"."id" = $1 AND NOT ("auth_user"."is_staff")) ORDER BY "auth_user"."id" ASC LIMIT 21"#,
    r#"SELECT COUNT(*) AS "__count" FROM "polls" INNER JOIN "choice" ON ("polls"."id" = "choice"."poll_id") WHERE UPPER("choice"."text"::text) LIKE UPPER(%s)"#,
    r#"SELECT (1) AS "a" FROM "t" WHERE EXISTS(SELECT 1 AS "a" FROM "u" U0 WHERE (U0."x" = ("t"."id")) LIMIT 1)"#,
    r#"SELECT DATE_TRUNC('day', "t"."at" AT TIME ZONE 'UTC') AS "d", COALESCE(SUM("t"."n"), 0) FROM "t" GROUP BY DATE_TRUNC('day', "t"."at" AT TIME ZONE 'UTC'), 1 HAVING COUNT("t"."id") > 1"#,
    r#"SELECT "t"."id" FROM "t" WHERE "t"."data" @> '{"a": 1}'::jsonb AND ("t"."data" -> 'b') ->> 'c' = $1 AND "t"."data" ? 'k' FOR UPDATE OF "t" SKIP LOCKED"#,
    "SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm') AND pg_catalog.pg_table_is_visible(c.oid)",
    // Rails
    r#"SELECT "posts".* FROM "posts" WHERE "posts"."deleted_at" IS NULL AND "posts"."id" IN ($1, $2, $3) /*application:Blog,controller:posts*/"#,
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, col_description(a.attrelid, a.attnum) FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attrelid = '\"posts\"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    "SELECT max(identifier) FROM (SELECT unnest(ARRAY[1, 2]) AS identifier) AS x (identifier)",
    // Hibernate
    "select u1_0.id,u1_0.name,cast(u1_0.x as varchar(255)) from users u1_0 where lower(u1_0.name) like $1 escape '' and u1_0.at between $2 and $3 offset $4 rows fetch first $5 rows only",
    "select nullif(t.a, ''), greatest(t.a, t.b), trim(both from t.a), substring(t.a from 1 for 2), position('a' in t.b), extract(epoch from t.at), overlay(a placing 'x' from 1) from t where (t.a, t.b) in ((1, 2), (3, 4))",
    // SQLAlchemy
    "SELECT users.id AS users_id, anon_1.count_1 FROM users LEFT OUTER JOIN (SELECT addresses.user_id AS user_id, count(*) AS count_1 FROM addresses GROUP BY addresses.user_id) AS anon_1 ON users.id = anon_1.user_id",
    "WITH RECURSIVE tree(id, parent, path) AS (SELECT id, parent, ARRAY[id] FROM t WHERE parent IS NULL UNION ALL SELECT t.id, t.parent, path || t.id FROM t JOIN tree ON t.parent = tree.id), other (n) AS MATERIALIZED (SELECT count(*) FROM tree), third (n) AS NOT MATERIALIZED (VALUES (1), (2)) SELECT * FROM tree, other",
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), lag(a, 1) OVER w, percentile_cont(0.5) WITHIN GROUP (ORDER BY b), count(*) FILTER (WHERE a > 1), array_agg(DISTINCT a ORDER BY a) FROM t WINDOW w AS (PARTITION BY (a))",
    "SELECT coalesce(array_to_json(array_agg(row_to_json(x))), '[]'::json) FROM (SELECT * FROM t) x",
    "SELECT jsonb_build_object('a', t.a), to_tsvector('english', t.b) @@ plainto_tsquery($1), similarity FROM t WHERE t.tags && ARRAY[$1]::varchar(10)[] AND a = ANY ($2) AND b <> ALL (SELECT 1)",
    "SELECT * FROM generate_series(1, 10) AS g(i), unnest($1::int[], $2::text[]) WITH ORDINALITY AS u (a, b, n) JOIN LATERAL (SELECT 1) l ON true",
    "SELECT * FROM json_to_recordset($1) AS x(id int, name varchar(20), price numeric(10, 2), at timestamp(3) with time zone)",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v (id, name) LEFT JOIN (a CROSS JOIN (b)) ON (v.id = a.id) JOIN c USING (id) NATURAL JOIN d",
    "SELECT a, b, sum(c) FROM t GROUP BY GROUPING SETS ((a), (b), ())",
    "SELECT a, sum(c) FROM t GROUP BY ROLLUP (a, lower(b))",
    "SELECT a FROM t WHERE a NOT ILIKE ($1) AND b ILIKE ($2) AND NOT (c) AND d IS NOT DISTINCT FROM (1) AND (a, b) OVERLAPS (c, d)",
    "SELECT current_timestamp(3), current_date, now() - interval '1 day', interval(3) '1 s', age(at), make_interval(days => 3) FROM t TABLESAMPLE BERNOULLI (1) REPEATABLE (2)",
    "SELECT md5(random()::text), gen_random_uuid(), pg_sleep(0), version(), current_setting('x', true), txid_current(), pg_backend_pid()",
    "(SELECT 1) UNION ALL (SELECT 2) EXCEPT (TABLE t) ORDER BY (1)",
    "SELECT t.\"COUNT\", t.set, (t).x, a.b.c FROM a.b t (x, y) WHERE (SELECT true) -- f(1)",
    "SELECT 'x'::character varying(255), CAST(a AS bit varying(3)), b::double precision, c::timestamp(3) without time zone FROM t",
    "VALUES (1, NULL), ($1, DEFAULT)",
    "SHOW search_path",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT lower(a) FROM t",
    "FETCH FORWARD 10 FROM c",
    "LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
    "VACUUM (ANALYZE) t (a, b)",
    "ANALYZE VERBOSE t (a)",
    "SET LOCAL statement_timeout = '5s'",
    "SELECT set_config('request.jwt.claims', $1, true), pg_catalog.set_config('role', $2, 't')",
    "SELECT 1",
    "",
];

const WRITES: &[&str] = &[
    r#"INSERT INTO "t" ("a", "b") VALUES ($1, $2), ($3, DEFAULT) RETURNING "t"."id""#,
    "INSERT INTO s.t (a) SELECT a FROM u ON CONFLICT (a, lower(b)) WHERE c DO UPDATE SET (a, b) = (EXCLUDED.a, now()), n = t.n + 1 RETURNING (xmax = 0) AS inserted",
    "INSERT INTO t AS x (a) VALUES (1) ON CONFLICT ON CONSTRAINT t_pkey DO NOTHING",
    "insert into users (id, name) overriding system value values (nextval('s'), lower($1))",
    r#"UPDATE "t" SET "a" = $1, ("b", "c") = ROW ($2, $3) FROM (SELECT 1 AS x) u (x) WHERE "t"."id" IN (SELECT id FROM u FOR UPDATE SKIP LOCKED)"#,
    "DELETE FROM t USING u WHERE t.id = u.id AND u.at < now() RETURNING t.*",
    "WITH moved AS (DELETE FROM a RETURNING *), b (x) AS (SELECT 1) INSERT INTO t (x) SELECT x FROM moved",
    "MERGE INTO t (x) USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = u.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (u.id, u.a)",
    "COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER true)",
    "TRUNCATE TABLE a, b RESTART IDENTITY CASCADE",
    "CREATE TABLE IF NOT EXISTS t (id bigserial PRIMARY KEY, name varchar(20) NOT NULL DEFAULT lower('x'), price numeric(10,2), geom geometry(Point, 4326), u int REFERENCES u (id) ON DELETE CASCADE, CONSTRAINT c UNIQUE (name), PRIMARY KEY (id), FOREIGN KEY (u) REFERENCES u(id), CHECK (price > 0)) PARTITION BY RANGE (id)",
    r#"CREATE UNIQUE INDEX CONCURRENTLY "i" ON "t" USING gin ("a" gin_trgm_ops, (lower(b))) INCLUDE (c) WITH (fillfactor = 70) WHERE (d)"#,
    "CREATE INDEX i ON t (a, b DESC NULLS LAST)",
    "ALTER TABLE t ADD COLUMN a varchar(10) DEFAULT 'x', ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES u (b) DEFERRABLE INITIALLY DEFERRED",
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (2)",
];
