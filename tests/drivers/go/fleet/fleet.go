// Package fleet works as a fleet of an application's workers does, until told to stop, and prints one line of JSON.
//
// A program that uses it gives its [Work]: how its driver does one unit of each kind on a connection from its pool. See
// the README for what the environment and the line say.
package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Work is a driver with its pool.
type Work interface {
	// Exec executes a statement without parameters.
	Exec(ctx context.Context, sql string) error
	// Total reads one number.
	Total(ctx context.Context, sql string) (int64, error)
	// Select is a statement without parameters.
	Select(ctx context.Context) error
	// Prepared is a statement with a parameter, prepared by name.
	Prepared(ctx context.Context, worker int) error
	// Book is a transaction that executes sql with the worker's number and sleeps for so many seconds.
	Book(ctx context.Context, sql string, worker int, sleeps int) error
}

const (
	longSeconds = 2
	// more errors than a person reads
	remembered = 100
)

type failure struct {
	At    int64  `json:"at_ms"`
	Unit  string `json:"unit"`
	Error string `json:"error"`
}

type tally struct {
	sync.Mutex
	Fleet     string    `json:"fleet"`
	Units     int       `json:"units"`
	Failed    int       `json:"failed"`
	Committed int       `json:"committed"`
	Unsure    int       `json:"unsure"`
	Ledger    int64     `json:"ledger"`
	Longest   int64     `json:"longest_ms"`
	Errors    []failure `json:"errors"`
}

// Name is the fleet's.
func Name() string { return os.Args[1] }

// Workers is how many there are, each with a connection in the pool.
func Workers() int {
	if count, err := strconv.Atoi(os.Getenv("FLEET_WORKERS")); err == nil {
		return count
	}
	return 8
}

// Run works until a line comes, then reports.
func Run(work Work) {
	ctx := context.Background()
	table := fmt.Sprintf(`"fleet %s"`, Name())
	total := fmt.Sprintf("select coalesce(sum(bookings), 0)::bigint from %s", table)
	check(work.Exec(ctx, fmt.Sprintf("create table if not exists %s (worker int primary key, bookings bigint not null)", table)))
	check(work.Exec(ctx, fmt.Sprintf("insert into %s select n, 0 from generate_series(0, %d) n on conflict do nothing", table, Workers()-1)))
	before, err := work.Total(ctx, total)
	check(err)

	book := fmt.Sprintf("update %s set bookings = bookings + 1 where worker = $1", table)
	result := tally{Fleet: Name(), Errors: []failure{}}
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for n := range Workers() {
		workers.Go(func() { result.worker(ctx, work, book, n, stop) })
	}
	fmt.Println("started")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	close(stop)
	workers.Wait()
	after, err := work.Total(ctx, total)
	check(err)
	result.Ledger = after - before
	check(json.NewEncoder(os.Stdout).Encode(&result))
}

func (t *tally) worker(ctx context.Context, work Work, book string, n int, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(think()):
		}
		kind, sleeps := unit()
		start := time.Now()
		var err error
		switch kind {
		case "select":
			err = work.Select(ctx)
		case "prepared":
			err = work.Prepared(ctx, n)
		default:
			err = work.Book(ctx, book, n, sleeps)
		}
		t.done(kind, sleeps, start, err)
	}
}

// A kind, and for how long its transaction sleeps.
func unit() (kind string, sleeps int) {
	switch dice := rand.Float64(); {
	case dice < 0.02:
		return "long", longSeconds
	case dice < 0.4:
		return "select", 0
	case dice < 0.7:
		return "booking", 0
	default:
		return "prepared", 0
	}
}

// Between two units of a worker: mostly short, now and then long enough for a pool to test.
func think() time.Duration {
	return time.Duration(min(rand.ExpFloat64()/5, 3) * float64(time.Second))
}

func (t *tally) done(kind string, sleeps int, start time.Time, err error) {
	t.Lock()
	defer t.Unlock()
	books := 0
	if kind == "booking" || kind == "long" {
		books = 1
	}
	t.Units++
	t.Longest = max(t.Longest, time.Since(start).Milliseconds()-int64(sleeps)*1000)
	if err == nil {
		t.Committed += books
		return
	}
	t.Failed++
	t.Unsure += books
	if len(t.Errors) < remembered {
		text := fmt.Sprintf("%.300s", strings.Join(strings.Fields(err.Error()), " "))
		t.Errors = append(t.Errors, failure{time.Now().UnixMilli(), kind, text})
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
