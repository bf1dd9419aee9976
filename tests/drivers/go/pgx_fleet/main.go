// Command pgx_fleet is a fleet with pgxpool: as it is, when it tests a connection that was idle for a second, or with a
// test of every connection that it hands out.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgpooler.dev/drivers/fleet"
)

type work struct{ pool *pgxpool.Pool }

func main() {
	config, err := pgxpool.ParseConfig(fmt.Sprintf("pool_max_conns=%d pool_min_conns=%[1]d", fleet.Workers()))
	if err == nil && fleet.Name() == "pgxpool-ping" {
		config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	}
	var pool *pgxpool.Pool
	if err == nil {
		pool, err = pgxpool.NewWithConfig(context.Background(), config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fleet.Run(work{pool})
}

func (w work) Exec(ctx context.Context, sql string) error {
	_, err := w.pool.Exec(ctx, sql)
	return err
}

func (w work) Total(ctx context.Context, sql string) (total int64, err error) {
	err = w.pool.QueryRow(ctx, sql).Scan(&total)
	return total, err
}

func (w work) Select(ctx context.Context) error {
	_, err := w.Total(ctx, "select 1::bigint")
	return err
}

func (w work) Prepared(ctx context.Context, worker int) error {
	var got int
	err := w.pool.QueryRow(ctx, "select $1::int + 1", worker).Scan(&got)
	if err == nil && got != worker+1 {
		return fmt.Errorf("got %d", got)
	}
	return err
}

func (w work) Book(ctx context.Context, sql string, worker int, sleeps int) error {
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql, worker); err != nil || sleeps == 0 {
			return err
		}
		_, err := tx.Exec(ctx, "select pg_sleep($1)", sleeps)
		return err
	})
}
