// Command pq_fleet is a fleet with database/sql over lib/pq.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	_ "github.com/lib/pq"
	"pgpooler.dev/drivers/fleet"
)

type work struct {
	pool     *sql.DB
	prepared *sql.Stmt
}

func main() {
	pool, err := sql.Open("postgres", "")
	if err == nil {
		pool.SetMaxOpenConns(fleet.Workers())
		pool.SetMaxIdleConns(fleet.Workers())
	}
	var prepared *sql.Stmt
	if err == nil {
		// database/sql prepares it on each connection that it is used on
		prepared, err = pool.Prepare("select $1::int + 1")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fleet.Run(work{pool, prepared})
}

func (w work) Exec(ctx context.Context, sql string) error {
	_, err := w.pool.ExecContext(ctx, sql)
	return err
}

func (w work) Total(ctx context.Context, sql string) (total int64, err error) {
	err = w.pool.QueryRowContext(ctx, sql).Scan(&total)
	return total, err
}

func (w work) Select(ctx context.Context) error {
	_, err := w.Total(ctx, "select 1::bigint")
	return err
}

func (w work) Prepared(ctx context.Context, worker int) error {
	var got int
	err := w.prepared.QueryRowContext(ctx, worker).Scan(&got)
	if err == nil && got != worker+1 {
		return fmt.Errorf("got %d", got)
	}
	return err
}

func (w work) Book(ctx context.Context, sql string, worker int, sleeps int) error {
	tx, err := w.pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, sql, worker)
	if err == nil && sleeps > 0 {
		_, err = tx.ExecContext(ctx, "select pg_sleep($1)", sleeps)
	}
	if err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}
