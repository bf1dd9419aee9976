// Command pgx_driver uses pgx and its pool as applications do.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	. "pgpooler.dev/drivers/harness"
)

func main() {
	Run([]Scenario{
		{"what_connect_says_holds_for_good", whatConnectSays},
		{"settings_stay_with_their_client", settingsStay},
		{"every_way_to_execute_gives_the_same", everyWayToExecute},
		{"statements_beyond_the_cache_are_deallocated", beyondTheCache},
		{"named_statements_are_prepared_and_deallocated", namedStatements},
		{"a_statement_is_prepared_again_when_its_table_changed", staleStatement},
		{"a_batch_gives_its_results_in_order", batch},
		{"a_pipeline_gives_its_results_in_order", pipeline},
		{"copy_goes_in_and_out", copies},
		{"a_context_that_ends_ends_its_query", contextEnds},
		{"a_running_query_is_cancelled", cancel},
		{"notifications_arrive", notifications},
		{"savepoints_hold_what_was_before_them", savepoints},
		{"cursors_read_in_parts", cursors},
		{"large_values_pass", largeValues},
		{"types_are_looked_up_and_travel_in_binary", types},
		{"notices_arrive_with_their_query", notices},
		{"a_pool_resets_what_it_takes_back", poolResets},
		{"a_pool_connects_again_after_its_connections_were_closed", poolReconnects},
		{"temp_tables_and_locks_stay_with_their_client", tempTables},
		{"database_sql_works_over_it", databaseSQL},
		{"twenty_workers_never_see_each_other", twentyWorkers},
	})
}

// An empty string takes everything from libpq's variables.
func connect(ctx context.Context, settings string) *pgx.Conn {
	return Must(pgx.Connect(ctx, settings))
}

func value[T any](ctx context.Context, client querier, sql string, arguments ...any) T {
	var got T
	Check(client.QueryRow(ctx, sql, arguments...).Scan(&got))
	return got
}

type querier interface {
	QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row
}

func exec(ctx context.Context, client *pgx.Conn, sql string, arguments ...any) {
	Must(client.Exec(ctx, sql, arguments...))
}

// Clients on every server connection at once, each with settings and statements of its own. The function that is handed
// out lets them all work again.
func withNeighbours(ctx context.Context, work func(stir func())) {
	var others []*pgx.Conn
	defer func() {
		for _, other := range others {
			_ = other.Close(ctx)
		}
	}()
	for n := range ServerConnections {
		other := connect(ctx, fmt.Sprintf("application_name='other %d'", n))
		others = append(others, other)
		exec(ctx, other, fmt.Sprintf("set work_mem = '%dMB'; set search_path = other%d; set datestyle = 'German'", n+10, n))
	}
	stir := func() {
		for _, other := range others {
			exec(ctx, other, "begin")
		}
		for n, other := range others {
			Equal(value[string](ctx, other, "select current_setting('work_mem') || $1", "!"), fmt.Sprintf("%dMB!", n+10))
		}
		for _, other := range others {
			exec(ctx, other, "commit")
		}
	}
	stir()
	work(stir)
}

func whatConnectSays(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "application_name=mine search_path=pg_catalog statement_timeout=54321 timezone=Asia/Tokyo options='-c app.tenant=blue'")
		defer client.Close(ctx)
		for range 3 {
			Equal(value[string](ctx, client, "show application_name"), "mine")
			Equal(value[string](ctx, client, "show search_path"), "pg_catalog")
			Equal(value[string](ctx, client, "show statement_timeout"), "54321ms")
			Equal(value[string](ctx, client, "show app.tenant"), "blue")
			Equal(value[string](ctx, client, "show timezone"), "Asia/Tokyo")
			Equal(client.PgConn().ParameterStatus("TimeZone"), "Asia/Tokyo")
			stir()
		}
		exec(ctx, client, "set statement_timeout = 1000; set timezone = 'UTC'")
		exec(ctx, client, "reset all")
		Equal(value[string](ctx, client, "show statement_timeout"), "54321ms")
		Equal(client.PgConn().ParameterStatus("TimeZone"), "Asia/Tokyo")
	})
}

func settingsStay(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		exec(ctx, client, "set search_path = mine, public")
		exec(ctx, client, "set time zone 'Asia/Tokyo'")
		Equal(value[string](ctx, client, "select set_config('work_mem', $1, false)", "77MB"), "77MB")
		_ = pgx.BeginFunc(ctx, client, func(tx pgx.Tx) error {
			Must(tx.Exec(ctx, "set statement_timeout = 888"))
			return errors.New("rolled back")
		})
		for range 3 {
			stir()
			Equal(value[string](ctx, client, "show search_path"), "mine, public")
			Equal(value[string](ctx, client, "show timezone"), "Asia/Tokyo")
			Equal(client.PgConn().ParameterStatus("TimeZone"), "Asia/Tokyo")
			Equal(value[string](ctx, client, "show work_mem"), "77MB")
			Equal(value[string](ctx, client, "show statement_timeout"), "0")
		}
	})
}

func everyWayToExecute(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
			client := connect(ctx, "default_query_exec_mode="+mode)
			for n := range 10 {
				Equal(value[int](ctx, client, "select $1::int4 + 1", n), n+1)
				rows := Must(client.Query(ctx, "select g::int4 from generate_series(1, $1::int4) g", 50))
				all := Must(pgx.CollectRows(rows, pgx.RowTo[int]))
				Equal(len(all), 50)
				if n%4 == 0 {
					stir()
				}
			}
			Check(client.Close(ctx))
		}
	})
}

func beyondTheCache(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "statement_cache_capacity=5")
		defer client.Close(ctx)
		for turn := range 3 {
			for n := range 12 {
				Equal(value[int](ctx, client, fmt.Sprintf("select $1::int4 + %d", n), turn), turn+n)
			}
			stir()
		}
		Check(client.DeallocateAll(ctx))
		Equal(value[int](ctx, client, "select $1::int4 + 3", 1), 4)
	})
}

func namedStatements(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		for range 3 {
			described := Must(client.Prepare(ctx, "by name", "select $1::int8 as n, $2::text as t"))
			Equal(described.ParamOIDs, []uint32{pgtype.Int8OID, pgtype.TextOID})
			Equal(described.Fields[1].Name, "t")
			stir()
			Equal(value[int64](ctx, client, "select $1::int8 + 0", 3), int64(3))
			Equal(Must(client.Exec(ctx, "by name", 1, "x")).String(), "SELECT 1")
			Check(client.Deallocate(ctx, "by name"))
		}
		result := client.PgConn().ExecPrepared(ctx, "by name", [][]byte{[]byte("1"), []byte("x")}, nil, nil).Read()
		Fails(result.Err, "26000")
	})
}

func staleStatement(ctx context.Context) {
	first, second := connect(ctx, ""), connect(ctx, "")
	defer first.Close(ctx)
	defer second.Close(ctx)
	exec(ctx, first, "drop table if exists pgx_changing")
	exec(ctx, first, "create table pgx_changing (a int)")
	exec(ctx, first, "insert into pgx_changing values (1)")
	read := func(client *pgx.Conn) (int, error) {
		rows, err := client.Query(ctx, "select * from pgx_changing where a > $1", 0)
		if err != nil {
			return 0, err
		}
		columns := len(rows.FieldDescriptions())
		rows.Close()
		return columns, rows.Err()
	}
	Equal(Must(read(first)), 1)
	exec(ctx, first, "alter table pgx_changing add b text default 'new'")
	Equal(Must(read(second)), 2)
	// pgx reports it once and forgets the statement
	_, err := read(first)
	Fails(err, "0A000")
	Equal(Must(read(first)), 2)
	exec(ctx, first, "drop table pgx_changing")
}

func batch(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		for range 3 {
			var some pgx.Batch
			for n := range 100 {
				some.Queue("select $1::int4, repeat('x', 1000)", n)
				some.Queue(fmt.Sprintf("select $1::int4 + %d", n%10), n)
			}
			results := client.SendBatch(ctx, &some)
			for n := range 100 {
				var first, second int
				var text string
				Check(results.QueryRow().Scan(&first, &text))
				Check(results.QueryRow().Scan(&second))
				Equal([]int{first, second}, []int{n, n + n%10})
			}
			Check(results.Close())
			stir()
		}
		var broken pgx.Batch
		broken.Queue("select 1")
		broken.Queue("select 1 / $1::int4", 0)
		broken.Queue("select 3")
		results := client.SendBatch(ctx, &broken)
		Must(results.Exec())
		_, err := results.Exec()
		Fails(err, "22012")
		Fails(results.Close(), "22012")
		Equal(value[int](ctx, client, "select 4"), 4)
	})
}

func pipeline(ctx context.Context) {
	client := connect(ctx, "")
	defer client.Close(ctx)
	line := client.PgConn().StartPipeline(ctx)
	line.SendPrepare("in line", "select $1::int4", nil)
	for n := range 50 {
		line.SendQueryPrepared("in line", [][]byte{fmt.Append(nil, n)}, nil, nil)
	}
	line.SendDeallocate("in line")
	line.SendQueryParams("select 1/0", nil, nil, nil, nil)
	Check(line.Sync())
	line.SendQueryParams("select 'after'", nil, nil, nil, nil)
	Check(line.Sync())
	var seen []string
	for {
		result, err := line.GetResults()
		if err != nil {
			seen = append(seen, Fails(err, "22012").SQLState())
			continue
		}
		switch result := result.(type) {
		case nil:
			Check(line.Close())
			Equal(seen[0], "0")
			Equal(seen[49:], []string{"49", "22012", "sync", "after", "sync"})
			return
		case *pgconn.ResultReader:
			seen = append(seen, string(result.Read().Rows[0][0]))
		case *pgconn.PipelineSync:
			seen = append(seen, "sync")
		}
	}
}

func copies(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		exec(ctx, client, "drop table if exists pgx_copy")
		exec(ctx, client, "create table pgx_copy (n int primary key, t text, b bytea)")
		table, columns := pgx.Identifier{"pgx_copy"}, []string{"n", "t", "b"}
		rows := func(from, to int) pgx.CopyFromSource {
			return pgx.CopyFromSlice(to-from, func(n int) ([]any, error) {
				return []any{from + n, fmt.Sprintf("row %d", n), []byte{0, byte(n)}}, nil
			})
		}
		Equal(Must(client.CopyFrom(ctx, table, columns, rows(0, 20_000))), int64(20_000))
		stir()
		_, err := client.CopyFrom(ctx, table, columns, rows(19_999, 60_000))
		Fails(err, "23505")
		broken := pgx.CopyFromFunc(func() ([]any, error) { return nil, errors.New("the source broke") })
		_, err = client.CopyFrom(ctx, table, columns, broken)
		Equal(err != nil, true)
		Equal(value[int](ctx, client, "select count(*)::int4 from pgx_copy"), 20_000)
		var out strings.Builder
		Must(client.PgConn().CopyTo(ctx, &out, "copy (select n, t from pgx_copy order by n) to stdout"))
		Equal(strings.Count(out.String(), "\n"), 20_000)
		exec(ctx, client, "truncate pgx_copy")
		in := strings.NewReader(strings.ReplaceAll(out.String(), "\n", "\t\\N\n"))
		Equal(Must(client.PgConn().CopyFrom(ctx, in, "copy pgx_copy from stdin")).RowsAffected(), int64(20_000))
		exec(ctx, client, "drop table pgx_copy")
	})
}

// By default pgx closes a connection whose context ended during a query.
func contextEnds(ctx context.Context) {
	pool := Must(pgxpool.New(ctx, "pool_max_conns=4"))
	defer pool.Close()
	for range 5 {
		short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := pool.Exec(short, "select pg_sleep(30)")
		Equal(errors.Is(err, context.DeadlineExceeded), true)
		stop()
		Equal(value[int](ctx, pool, "select 5"), 5)
	}
}

func cancel(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client, bystander := connect(ctx, ""), connect(ctx, "")
		defer client.Close(ctx)
		defer bystander.Close(ctx)
		for range 3 {
			time.AfterFunc(200*time.Millisecond, func() { _ = client.PgConn().CancelRequest(ctx) })
			_, err := client.Exec(ctx, "select pg_sleep(30)")
			Fails(err, "57014")
			Equal(value[int](ctx, client, "select 5"), 5)
			Equal(value[int](ctx, bystander, "select 6"), 6)
		}
		Check(client.PgConn().CancelRequest(ctx))
		Equal(value[int](ctx, client, "select 7"), 7)
	})
}

func notifications(ctx context.Context) {
	listener, sender := connect(ctx, "user=holder password=holder"), connect(ctx, "")
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	exec(ctx, listener, "listen pgx_channel")
	for n := range 3 {
		exec(ctx, sender, "select pg_notify('pgx_channel', $1)", fmt.Sprint("message ", n))
	}
	short, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for n := range 3 {
		Equal(Must(listener.WaitForNotification(short)).Payload, fmt.Sprint("message ", n))
	}
	exec(ctx, listener, "unlisten pgx_channel")
	exec(ctx, sender, "notify pgx_channel, 'late'")
	Equal(value[int](ctx, listener, "select 1"), 1)
}

func savepoints(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		tx := Must(client.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, DeferrableMode: pgx.Deferrable}))
		Must(tx.Exec(ctx, "create temp table kept (n int) on commit drop"))
		Must(tx.Exec(ctx, "insert into kept values (1)"))
		inner := Must(tx.Begin(ctx))
		Must(inner.Exec(ctx, "insert into kept values (2)"))
		_, err := inner.Exec(ctx, "select 1 / $1::int4", 0)
		Fails(err, "22012")
		_, err = inner.Exec(ctx, "select 1")
		Fails(err, "25P02")
		Check(inner.Rollback(ctx))
		inner = Must(tx.Begin(ctx))
		Must(inner.Exec(ctx, "insert into kept values (3)"))
		Check(inner.Commit(ctx))
		Equal(value[[]int](ctx, tx, "select array_agg(n) from kept"), []int{1, 3})
		Check(tx.Commit(ctx))
		stir()
		tx = Must(client.Begin(ctx))
		_, err = tx.Exec(ctx, "select * from nowhere")
		Fails(err, "42P01")
		Equal(errors.Is(tx.Commit(ctx), pgx.ErrTxCommitRollback), true)
		Equal(value[int](ctx, client, "select 3"), 3)
	})
}

func cursors(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		tx := Must(client.Begin(ctx))
		Must(tx.Exec(ctx, "declare parts cursor for select g::int4 from generate_series(1, 1000) g"))
		total := 0
		for {
			part := Must(pgx.CollectRows(Must(tx.Query(ctx, "fetch 77 from parts")), pgx.RowTo[int]))
			if len(part) == 0 {
				break
			}
			for _, n := range part {
				total += n
			}
		}
		Equal(total, 500_500)
		Check(tx.Commit(ctx))
		// leaving early makes pgx read the rest
		rows := Must(client.Query(ctx, "select g::int4 from generate_series(1, 10000) g"))
		Equal(rows.Next(), true)
		rows.Close()
		Check(rows.Err())
	})
}

func largeValues(ctx context.Context) {
	text, data := strings.Repeat("ä€😀", 2_000_000), []byte(strings.Repeat("pgpooler\x00", 2_000_000))
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		var gotText string
		var gotData []byte
		Check(client.QueryRow(ctx, "select $1::text, $2::bytea", text, data).Scan(&gotText, &gotData))
		Equal(gotText == text && string(gotData) == string(data), true)
		rows := Must(client.Query(ctx, "select repeat('y', 1000) from generate_series(1, 30000)"))
		Equal(len(Must(pgx.CollectRows(rows, pgx.RowTo[string]))), 30_000)
	})
}

type pair struct {
	N int32
	T string
}

func types(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client := connect(ctx, "")
		defer client.Close(ctx)
		exec(ctx, client, "drop type if exists pgx_pair, pgx_mood")
		exec(ctx, client, "create type pgx_mood as enum ('sad', 'glad')")
		exec(ctx, client, "create type pgx_pair as (n int4, t text)")
		stir()
		for _, kind := range Must(client.LoadTypes(ctx, []string{"pgx_pair", "pgx_mood", "_pgx_mood"})) {
			client.TypeMap().RegisterType(kind)
		}
		var (
			numbers []*int32
			json    map[string]any
			both    pair
			moods   []string
			when    time.Time
			between pgtype.Range[pgtype.Int4]
		)
		one, three := int32(1), int32(3)
		Check(client.QueryRow(ctx, "select $1::int4[], $2::jsonb, $3::pgx_pair, $4::pgx_mood[], $5::timestamptz, int4range(1, 5)",
			[]*int32{&one, nil, &three}, map[string]any{"ü": []int{1}}, pair{1, `a,"b`}, []string{"glad", "sad"}, time.Unix(1709208000, 0),
		).Scan(&numbers, &json, &both, &moods, &when, &between))
		Equal([]any{*numbers[0], numbers[1] == nil, *numbers[2]}, []any{int32(1), true, int32(3)})
		Equal(json, map[string]any{"ü": []any{1.0}})
		Equal(both, pair{1, `a,"b`})
		Equal(moods, []string{"glad", "sad"})
		Equal(when.Unix(), int64(1709208000))
		Equal(between.Upper.Int32, int32(5))
		exec(ctx, client, "drop type pgx_pair, pgx_mood")
	})
}

func notices(ctx context.Context) {
	config := Must(pgx.ParseConfig(""))
	var seen []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { seen = append(seen, notice.Message) }
	client := Must(pgx.ConnectConfig(ctx, config))
	defer client.Close(ctx)
	exec(ctx, client, "do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$")
	Equal(seen, []string{"number 1", "number 2", "number 3"})
}

func poolResets(ctx context.Context) {
	config := Must(pgxpool.ParseConfig("pool_max_conns=8 pool_min_conns=4"))
	config.AfterConnect = func(ctx context.Context, client *pgx.Conn) error {
		_, err := client.Exec(ctx, "set timezone = 'Asia/Tokyo'")
		return err
	}
	config.PrepareConn = func(ctx context.Context, client *pgx.Conn) (bool, error) {
		_, err := client.Exec(ctx, "set application_name = 'in use'")
		return err == nil, err
	}
	config.AfterRelease = func(client *pgx.Conn) bool {
		_, err := client.Exec(context.Background(), "reset search_path; reset application_name")
		return err == nil
	}
	pool := Must(pgxpool.NewWithConfig(ctx, config))
	defer pool.Close()
	withNeighbours(ctx, func(stir func()) {
		for turn := range 20 {
			client := Must(pool.Acquire(ctx))
			Equal(value[string](ctx, client, "show search_path"), `"$user", public`)
			Equal(value[string](ctx, client, "show timezone"), "Asia/Tokyo")
			Equal(value[string](ctx, client, "show application_name"), "in use")
			Must(client.Exec(ctx, "set search_path = left_behind"))
			Equal(value[int](ctx, client, "select $1::int4", turn), turn)
			client.Release()
			if turn%5 == 0 {
				stir()
			}
		}
	})
}

func poolReconnects(ctx context.Context) {
	pool := Must(pgxpool.New(ctx, "pool_max_conns=2"))
	defer pool.Close()
	Equal(value[int](ctx, pool, "select 1"), 1)
	pool.Reset()
	Equal(value[int](ctx, pool, "select 2"), 2)
	_, err := pool.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
	Fails(err, "57P01")
	Equal(value[int](ctx, pool, "select 3"), 3)
}

func tempTables(ctx context.Context) {
	var clients []*pgx.Conn
	for n := range 5 {
		client := connect(ctx, "user=holder password=holder")
		defer client.Close(ctx)
		clients = append(clients, client)
		exec(ctx, client, "create temp table mine (n int)")
		exec(ctx, client, "insert into mine values ($1)", n)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(117, $1)", n), true)
	}
	for n, client := range clients {
		Equal(value[int](ctx, client, "select n from mine"), n)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(117, $1)", (n+1)%5), false)
		Equal(value[bool](ctx, client, "select pg_advisory_unlock(117, $1)", n), true)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(117, $1)", n), true)
	}
}

func databaseSQL(ctx context.Context) {
	database := stdlib.OpenDB(*Must(pgx.ParseConfig("")))
	defer database.Close()
	database.SetMaxOpenConns(8)
	statement := Must(database.PrepareContext(ctx, "select $1::int4 * 2"))
	Together(8, func(worker int) {
		for n := range 25 {
			var got int
			Check(statement.QueryRowContext(ctx, worker*100+n).Scan(&got))
			Equal(got, 2*(worker*100+n))
		}
	})
	Check(statement.Close())
}

func twentyWorkers(ctx context.Context) {
	Together(20, func(worker int) {
		zone := fmt.Sprintf("<W%02d>-%02d", worker, worker%12)
		client := connect(ctx, fmt.Sprintf("application_name='worker %d' statement_cache_capacity=4", worker))
		defer client.Close(ctx)
		exec(ctx, client, fmt.Sprintf("set work_mem = '%dMB'", 100+worker))
		exec(ctx, client, fmt.Sprintf("set timezone = '%s'", zone))
		for n := range 100 {
			switch n % 5 {
			case 0:
				Check(pgx.BeginFunc(ctx, client, func(tx pgx.Tx) error {
					Equal(value[string](ctx, tx, "show work_mem"), fmt.Sprintf("%dMB", 100+worker))
					Equal(value[string](ctx, tx, "show application_name"), fmt.Sprintf("worker %d", worker))
					return nil
				}))
			case 1:
				Equal(value[int](ctx, client, fmt.Sprintf("select $1::int4 * 1000 + %d", worker), n), n*1000+worker)
			case 2:
				var some pgx.Batch
				for k := range 5 {
					some.Queue("select $1::text", fmt.Sprint(worker, n, k))
				}
				results := client.SendBatch(ctx, &some)
				for k := range 5 {
					var got string
					Check(results.QueryRow().Scan(&got))
					Equal(got, fmt.Sprint(worker, n, k))
				}
				Check(results.Close())
			case 3:
				Equal(value[string](ctx, client, "show timezone"), zone)
			default:
				_, err := client.Exec(ctx, fmt.Sprintf("do $$ begin raise exception 'mine %d'; end $$", worker))
				Equal(Fails(err, "P0001").(*pgconn.PgError).Message, fmt.Sprintf("mine %d", worker))
			}
		}
	})
}
