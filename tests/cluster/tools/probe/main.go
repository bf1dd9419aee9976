// probe is what the self-test's pods run.
//
//	probe serve     answers every request on :8080 with the host's name; stops serving 2 s after SIGTERM
//	probe get URL   prints the answer; asks again for up to 20 s, since a Service's rules follow its pods by a second
//	probe fill      takes memory until it is killed for it
//	probe sleep     until SIGTERM
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	stop, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer done()
	if err := run(stop, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(stop context.Context, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "serve":
		return serve(stop)
	case len(arguments) == 1 && arguments[0] == "fill":
		return fill()
	case len(arguments) == 1 && arguments[0] == "sleep":
		<-stop.Done()
		return nil
	case len(arguments) == 2 && arguments[0] == "get":
		return get(arguments[1])
	default:
		return fmt.Errorf("usage: probe serve | get URL | fill | sleep")
	}
}

func serve(stop context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("serving as", name)
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, "hello from", name) })
	go func() {
		<-stop.Done()
		time.Sleep(2 * time.Second)
		os.Exit(0)
	}()
	return http.ListenAndServe(":8080", nil)
}

func get(url string) error {
	client := http.Client{Timeout: 3 * time.Second}
	var failed error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		var body string
		if body, failed = once(&client, url); failed == nil {
			fmt.Print(body)
			return nil
		}
	}
	return failed
}

func once(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return string(body), err
}

// fill stops at 1 GiB, should nothing stop it before.
func fill() error {
	var held [][]byte
	for range 1024 {
		block := make([]byte, 1<<20)
		for at := 0; at < len(block); at += 4096 {
			block[at] = 1
		}
		held = append(held, block)
	}
	return fmt.Errorf("took %d MiB and was not killed", len(held))
}
