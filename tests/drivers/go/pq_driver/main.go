// Command pq_driver uses lib/pq through database/sql as applications do.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
	. "pgpooler.dev/drivers/harness"
)

func main() {
	// it would demand TLS
	Check(os.Setenv("PGSSLMODE", "disable"))
	Run([]Scenario{
		{"what_connect_says_holds_for_good", whatConnectSays},
		{"settings_stay_with_their_client", settingsStay},
		{"statements_are_prepared_or_not", statements},
		{"parameters_and_results_travel_in_binary", binary},
		{"protocol_3_2_is_spoken", protocol32},
		{"copy_goes_in", copyIn},
		{"a_context_that_ends_cancels_its_query", cancel},
		{"notifications_arrive", notifications},
		{"savepoints_hold_what_was_before_them", savepoints},
		{"rows_left_unread_do_no_harm", unread},
		{"large_values_pass", largeValues},
		{"arrays_and_documents_pass", arrays},
		{"notices_arrive_with_their_query", notices},
		{"a_pool_connects_again_after_its_connections_were_closed", reconnects},
		{"temp_tables_and_locks_stay_with_their_client", tempTables},
		{"twenty_workers_never_see_each_other", twentyWorkers},
	})
}

func open(settings string) *sql.DB {
	return Must(sql.Open("postgres", settings))
}

// One connection of its own, closed when its pool is.
func connect(ctx context.Context, settings string) (*sql.Conn, func()) {
	database := open(settings)
	client := Must(database.Conn(ctx))
	return client, func() {
		_ = client.Close()
		_ = database.Close()
	}
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, arguments ...any) *sql.Row
}

type executor interface {
	ExecContext(ctx context.Context, query string, arguments ...any) (sql.Result, error)
}

func value[T any](ctx context.Context, client querier, query string, arguments ...any) T {
	var got T
	Check(client.QueryRowContext(ctx, query, arguments...).Scan(&got))
	return got
}

func exec(ctx context.Context, client executor, query string, arguments ...any) {
	Must(client.ExecContext(ctx, query, arguments...))
}

// Clients on every server connection at once, each with settings and statements of its own. The function that is handed
// out lets them all work again.
func withNeighbours(ctx context.Context, work func(stir func())) {
	var others []*sql.Conn
	for n := range ServerConnections {
		other, end := connect(ctx, fmt.Sprintf("application_name='other %d'", n))
		defer end()
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
		client, end := connect(ctx, "application_name=mine search_path=pg_catalog statement_timeout=54321 timezone=Asia/Tokyo options='-c app.tenant=blue'")
		defer end()
		for range 3 {
			Equal(value[string](ctx, client, "show application_name"), "mine")
			Equal(value[string](ctx, client, "show search_path"), "pg_catalog")
			Equal(value[string](ctx, client, "show statement_timeout"), "54321ms")
			Equal(value[string](ctx, client, "show app.tenant"), "blue")
			Equal(value[string](ctx, client, "show timezone"), "Asia/Tokyo")
			stir()
		}
		exec(ctx, client, "set statement_timeout = 1000")
		exec(ctx, client, "discard all")
		Equal(value[string](ctx, client, "show statement_timeout"), "54321ms")
	})
}

func settingsStay(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client, end := connect(ctx, "")
		defer end()
		exec(ctx, client, "set search_path = mine, public")
		exec(ctx, client, "set time zone 'Asia/Tokyo'")
		exec(ctx, client, "select set_config('work_mem', $1, false)", "77MB")
		for range 3 {
			stir()
			Equal(value[string](ctx, client, "show search_path"), "mine, public")
			Equal(value[string](ctx, client, "show timezone"), "Asia/Tokyo")
			Equal(value[time.Time](ctx, client, "select '2024-02-29 12:00+00'::timestamptz").Format(time.RFC3339), "2024-02-29T21:00:00+09:00")
			Equal(value[string](ctx, client, "show work_mem"), "77MB")
		}
	})
}

func statements(ctx context.Context) {
	database := open("")
	defer database.Close()
	database.SetMaxOpenConns(6)
	withNeighbours(ctx, func(stir func()) {
		double := Must(database.PrepareContext(ctx, "select $1::int * 2"))
		Together(6, func(worker int) {
			other := Must(database.PrepareContext(ctx, fmt.Sprintf("select $1::int * 1000 + %d", worker)))
			for n := range 30 {
				var got int
				Check(double.QueryRowContext(ctx, n).Scan(&got))
				Equal(got, n*2)
				Check(other.QueryRowContext(ctx, n).Scan(&got))
				Equal(got, n*1000+worker)
				Equal(value[int](ctx, database, "select $1::int + 1", n), n+1)
			}
			Check(other.Close())
		})
		stir()
		tx := Must(database.Begin())
		var got int
		Check(tx.Stmt(double).QueryRow(21).Scan(&got))
		Equal(got, 42)
		Check(tx.Commit())
		Check(double.Close())
	})
}

func binary(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client, end := connect(ctx, "binary_parameters=yes")
		defer end()
		for n := range 20 {
			Equal(value[string](ctx, client, "select encode($1::bytea, 'hex')", []byte{0, byte(n), 255}), fmt.Sprintf("00%02xff", n))
			Equal(value[string](ctx, client, "select $1::text", "ü"), "ü")
		}
	})
}

func protocol32(ctx context.Context) {
	client, end := connect(ctx, "max_protocol_version=3.2")
	defer end()
	Equal(value[int](ctx, client, "select 1"), 1)
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	_, err := client.ExecContext(short, "select pg_sleep(30)")
	Fails(err, "57014")
}

func copyIn(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client, end := connect(ctx, "")
		defer end()
		exec(ctx, client, "drop table if exists pq_copy")
		exec(ctx, client, "create table pq_copy (n int primary key, t text)")
		fill := func(from, to int) error {
			tx := Must(client.BeginTx(ctx, nil))
			defer tx.Rollback()
			into := Must(tx.PrepareContext(ctx, "copy pq_copy (n, t) from stdin"))
			for n := from; n < to; n++ {
				if _, err := into.ExecContext(ctx, n, fmt.Sprintf("row %d\t\\", n)); err != nil {
					return err
				}
			}
			if _, err := into.ExecContext(ctx); err != nil {
				return err
			}
			Check(into.Close())
			return tx.Commit()
		}
		Check(fill(0, 20_000))
		stir()
		// few rows: an error while rows are being sent makes the driver hang now and then, directly as well
		Fails(fill(19_999, 20_010), "23505")
		Equal(value[int](ctx, client, "select count(*) from pq_copy where t like 'row %\t\\\\'"), 20_000)
		exec(ctx, client, "drop table pq_copy")
	})
}

func cancel(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		database := open("")
		defer database.Close()
		bystander, end := connect(ctx, "")
		defer end()
		for range 3 {
			short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			_, err := database.ExecContext(short, "select pg_sleep(30)")
			Fails(err, "57014")
			stop()
			Equal(value[int](ctx, database, "select 5"), 5)
			Equal(value[int](ctx, bystander, "select 6"), 6)
		}
	})
}

func notifications(ctx context.Context) {
	sender, end := connect(ctx, "")
	defer end()
	listener := pq.NewListener("user=holder password=holder", 10*time.Millisecond, time.Second, nil)
	defer listener.Close()
	Check(listener.Listen("pq_channel"))
	for n := range 3 {
		exec(ctx, sender, "select pg_notify('pq_channel', $1)", fmt.Sprint("message ", n))
	}
	for n := range 3 {
		select {
		case got := <-listener.Notify:
			Equal(got.Extra, fmt.Sprint("message ", n))
		case <-time.After(10 * time.Second):
			Equal("no notification", fmt.Sprint("message ", n))
		}
	}
	Check(listener.Ping())
	Check(listener.UnlistenAll())
	exec(ctx, sender, "notify pq_channel, 'late'")
	Check(listener.Ping())
	Equal(len(listener.Notify), 0)
}

func savepoints(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		database := open("")
		defer database.Close()
		tx := Must(database.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}))
		exec(ctx, tx, "create temp table kept (n int) on commit drop")
		exec(ctx, tx, "insert into kept values (1)")
		exec(ctx, tx, "savepoint one")
		_, err := tx.ExecContext(ctx, "select 1 / $1::int", 0)
		Fails(err, "22012")
		_, err = tx.ExecContext(ctx, "select 1")
		Fails(err, "25P02")
		exec(ctx, tx, "rollback to savepoint one")
		exec(ctx, tx, "insert into kept values ($1)", 3)
		Equal(value[string](ctx, tx, "select array_agg(n) from kept"), "{1,3}")
		Check(tx.Commit())
		stir()
		tx = Must(database.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}))
		_, err = tx.ExecContext(ctx, "create table not_here ()")
		Fails(err, "25006")
		Check(tx.Rollback())
	})
}

func unread(ctx context.Context) {
	withNeighbours(ctx, func(stir func()) {
		client, end := connect(ctx, "")
		defer end()
		for range 3 {
			rows := Must(client.QueryContext(ctx, "select g from generate_series(1, $1::int) g", 10_000))
			Equal(rows.Next(), true)
			Check(rows.Close())
			Equal(value[int](ctx, client, "select 2"), 2)
		}
		rows := Must(client.QueryContext(ctx, "select 1; select 2, 3"))
		Equal(rows.Next(), true)
		Equal(rows.Next(), false)
		Equal(rows.NextResultSet(), true)
		Equal(len(Must(rows.Columns())), 2)
		Check(rows.Close())
	})
}

func largeValues(ctx context.Context) {
	text, data := strings.Repeat("ä€😀", 2_000_000), []byte(strings.Repeat("pgpooler\x00", 1_000_000))
	withNeighbours(ctx, func(stir func()) {
		client, end := connect(ctx, "")
		defer end()
		var gotText string
		var gotData []byte
		Check(client.QueryRowContext(ctx, "select $1::text, $2::bytea", text, data).Scan(&gotText, &gotData))
		Equal(gotText == text && string(gotData) == string(data), true)
	})
}

func arrays(ctx context.Context) {
	client, end := connect(ctx, "")
	defer end()
	var numbers pq.Int64Array
	var words pq.StringArray
	var document string
	Check(client.QueryRowContext(ctx, "select $1::int8[], $2::text[], $3::jsonb", pq.Array([]int64{1, 2}), pq.Array([]string{`a,"b`, ""}), `{"ü": [1]}`).
		Scan(&numbers, &words, &document))
	Equal(numbers, pq.Int64Array{1, 2})
	Equal(words, pq.StringArray{`a,"b`, ""})
	Equal(document, `{"ü": [1]}`)
}

func notices(ctx context.Context) {
	var seen []string
	connector := pq.ConnectorWithNoticeHandler(Must(pq.NewConnector("")), func(notice *pq.Error) {
		seen = append(seen, notice.Message)
	})
	database := sql.OpenDB(connector)
	defer database.Close()
	exec(ctx, database, "do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$")
	Equal(seen, []string{"number 1", "number 2", "number 3"})
}

func reconnects(ctx context.Context) {
	database := open("")
	defer database.Close()
	database.SetMaxIdleConns(1)
	database.SetConnMaxLifetime(50 * time.Millisecond)
	for n := range 5 {
		Equal(value[int](ctx, database, "select $1::int", n), n)
		time.Sleep(30 * time.Millisecond)
	}
	_, err := database.ExecContext(ctx, "select pg_terminate_backend(pg_backend_pid())")
	Equal(err != nil, true)
	var failure SQLStater
	Equal(errors.Is(err, driver.ErrBadConn) || errors.As(err, &failure) && failure.SQLState() == "57P01", true)
	Equal(value[int](ctx, database, "select 3"), 3)
}

func tempTables(ctx context.Context) {
	var clients []*sql.Conn
	for n := range 5 {
		client, end := connect(ctx, "user=holder password=holder")
		defer end()
		clients = append(clients, client)
		exec(ctx, client, "create temp table mine (n int)")
		exec(ctx, client, "insert into mine values ($1)", n)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(127, $1)", n), true)
	}
	for n, client := range clients {
		Equal(value[int](ctx, client, "select n from mine"), n)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(127, $1)", (n+1)%5), false)
		Equal(value[bool](ctx, client, "select pg_advisory_unlock(127, $1)", n), true)
		Equal(value[bool](ctx, client, "select pg_try_advisory_lock(127, $1)", n), true)
	}
}

func twentyWorkers(ctx context.Context) {
	Together(20, func(worker int) {
		zone := fmt.Sprintf("<W%02d>-%02d", worker, worker%12)
		client, end := connect(ctx, fmt.Sprintf("application_name='worker %d'", worker))
		defer end()
		exec(ctx, client, fmt.Sprintf("set work_mem = '%dMB'; set timezone = '%s'", 100+worker, zone))
		mine := Must(client.PrepareContext(ctx, fmt.Sprintf("select $1::int * 1000 + %d", worker)))
		for n := range 100 {
			switch n % 4 {
			case 0:
				tx := Must(client.BeginTx(ctx, nil))
				memory, name := value[string](ctx, tx, "show work_mem"), value[string](ctx, tx, "show application_name")
				Check(tx.Commit())
				Equal([]string{memory, name}, []string{fmt.Sprintf("%dMB", 100+worker), fmt.Sprintf("worker %d", worker)})
			case 1:
				var got int
				Check(mine.QueryRowContext(ctx, n).Scan(&got))
				Equal(got, n*1000+worker)
			case 2:
				Equal(value[string](ctx, client, "select current_setting('timezone')"), zone)
			default:
				_, err := client.ExecContext(ctx, fmt.Sprintf("do $$ begin raise exception 'mine %d'; end $$", worker))
				Equal(Fails(err, "P0001").(*pq.Error).Message, fmt.Sprintf("mine %d", worker))
			}
		}
	})
}
