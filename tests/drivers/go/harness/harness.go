// Package harness runs a driver's scenarios and prints one line for each.
//
// Where PostgreSQL or the pooler is, libpq's own variables say: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE. Through
// the pooler that user's pool has three server connections. Holder may have as many as it likes: scenarios whose
// clients need a server connection for as long as they live log in as that user.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// ServerConnections is the size of the pool.
const ServerConnections = 3

// Holder is the name and the password of the user who may hold server connections.
const Holder = "holder"

// What must not wait for ever: a reply that never comes is the worst that a pooler can do.
const patience = time.Minute

// A Scenario panics when it fails.
type Scenario struct {
	Name string
	Work func(context.Context)
}

// SQLStater is an error of PostgreSQL; both drivers have the method.
type SQLStater interface {
	error
	SQLState() string
}

// Equal demands that two values are the same.
func Equal(got, wanted any) {
	if !reflect.DeepEqual(got, wanted) {
		panic(at(fmt.Sprintf("got %.300s, wanted %.300s", fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", wanted))))
	}
}

// Check demands that there is no error.
func Check(err error) {
	if err != nil {
		panic(at(err.Error()))
	}
}

// Must demands that there is no error, and gives the value.
func Must[T any](value T, err error) T {
	if err != nil {
		panic(at(err.Error()))
	}
	return value
}

// Fails demands an error with this SQLSTATE, and gives it.
func Fails(err error, state string) SQLStater {
	var failure SQLStater
	if !errors.As(err, &failure) {
		panic(at(fmt.Sprintf("got %v, wanted %s", err, state)))
	}
	if failure.SQLState() != state {
		panic(at(fmt.Sprintf("got %s (%v), wanted %s", failure.SQLState(), err, state)))
	}
	return failure
}

// Together calls work for each number below count, all at once, and panics if one of them did.
func Together(count int, work func(n int)) {
	failures := make(chan any, count)
	var all sync.WaitGroup
	for n := range count {
		all.Go(func() {
			defer func() {
				if failure := recover(); failure != nil {
					failures <- failure
				}
			}()
			work(n)
		})
	}
	all.Wait()
	select {
	case failure := <-failures:
		panic(failure)
	default:
	}
}

// Run runs all scenarios, or those named on the command line, and ends the process.
func Run(scenarios []Scenario) {
	failed := 0
	for _, scenario := range scenarios {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], scenario.Name) {
			continue
		}
		if failure := inTime(scenario.Work); failure != nil {
			failed = 1
			fmt.Printf("FAILED %s: %s\n", scenario.Name, strings.Join(strings.Fields(fmt.Sprint(failure)), " "))
		} else {
			fmt.Printf("ok %s\n", scenario.Name)
		}
	}
	os.Exit(failed)
}

func inTime(work func(context.Context)) (failure any) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		work(ctx)
	}()
	select {
	case failure = <-done:
		return failure
	case <-time.After(patience + 5*time.Second):
		return fmt.Sprintf("not done after %s", patience)
	}
}

// The line of the scenario, not of the helper that found it out.
func at(what string) string {
	for depth := 2; ; depth++ {
		_, file, line, known := runtime.Caller(depth)
		if !known {
			return what
		}
		if !strings.HasSuffix(file, "/harness.go") {
			return fmt.Sprintf("line %d: %s", line, what)
		}
	}
}
