// The peers in Go: River (river.go) and a bare SKIP LOCKED loop, the ceiling (ceiling.go).
// This file: arguments, the clock, the check in the database, the one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var errUsage = errors.New("usage: river river|ceiling noop|write|enqueue|latency" +
	" --jobs N [--workers W] [--connections C] [--gap-ms 20]")

var (
	jobs, workers, connections, gapMS int

	handled atomic.Int64 // jobs whose handler has run
	steps   atomic.Int64 // other signs of progress
)

type result map[string]any

func main() {
	if len(os.Args) < 3 {
		check(errUsage)
	}
	flags := flag.NewFlagSet("river", flag.ExitOnError)
	flags.IntVar(&jobs, "jobs", 10_000, "how many jobs")
	flags.IntVar(&workers, "workers", 100, "how many run at a time")
	flags.IntVar(&connections, "connections", 10, "connections to Postgres, at most")
	flags.IntVar(&gapMS, "gap-ms", 20, "pause between two enqueued jobs (latency)")
	_ = flags.Parse(os.Args[3:])
	if jobs < 1 || workers < 1 || connections < 2 || gapMS < 0 || flags.NArg() > 0 {
		check(errUsage)
	}
	modes := map[string]func(context.Context) result{
		"river noop":    func(ctx context.Context) result { return riverWork(ctx, false) },
		"river write":   func(ctx context.Context) result { return riverWork(ctx, true) },
		"river enqueue": riverEnqueue,
		"river latency": riverLatency,
		"ceiling noop":  func(ctx context.Context) result { return ceilingWork(ctx, false) },
		"ceiling write": func(ctx context.Context) result { return ceilingWork(ctx, true) },
	}
	mode, known := modes[os.Args[1]+" "+os.Args[2]]
	if !known {
		check(errUsage)
	}
	go watch()
	check(json.NewEncoder(os.Stdout).Encode(mode(context.Background())))
}

// Every error ends the program: a figure that comes out had none.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// The time limit of every wait: 120 s without any progress.
func watch() {
	last, since := int64(-1), time.Now()
	for range time.Tick(time.Second) {
		if now := handled.Load() + steps.Load(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > 120*time.Second {
			check(fmt.Errorf("no progress for 120 s: %d of %d jobs have run", handled.Load(), jobs))
		}
	}
}

func connect(ctx context.Context, size int) *pgxpool.Pool {
	config := must(pgxpool.ParseConfig(os.Getenv("DATABASE_URL")))
	config.MaxConns = int32(size)
	return must(pgxpool.NewWithConfig(ctx, config))
}

// The connection that prepares and checks: it is none of the peer's.
func observe(ctx context.Context) *pgx.Conn {
	return must(pgx.Connect(ctx, os.Getenv("DATABASE_URL")))
}

func count(ctx context.Context, db *pgx.Conn, query string) (rows int64) {
	check(db.QueryRow(ctx, query).Scan(&rows))
	return rows
}

// Before the clock starts: exactly these jobs are there, and the planner knows the tables.
func ready(ctx context.Context, db *pgx.Conn, all string) {
	if rows := count(ctx, db, all); rows != int64(jobs) {
		check(fmt.Errorf("%d jobs are there, not %d: the database was not empty", rows, jobs))
	}
	must(db.Exec(ctx, "analyze"))
}

// Waits until every handler has run, then until the database says that no job is left.
// Returns the seconds from the start until the question that it answered so.
func finish(ctx context.Context, db *pgx.Conn, start time.Time, left string) float64 {
	for handled.Load() < int64(jobs) {
		time.Sleep(5 * time.Millisecond)
	}
	for last := int64(-1); ; time.Sleep(50 * time.Millisecond) {
		asked := time.Now()
		rows := count(ctx, db, left)
		if rows == 0 {
			return asked.Sub(start).Seconds()
		}
		if rows != last {
			last = rows
			steps.Add(1)
		}
	}
}

func checkEffects(ctx context.Context, db *pgx.Conn) {
	if rows := count(ctx, db, "select count(*) from effect"); rows != int64(jobs) {
		check(fmt.Errorf("%d effects of %d jobs", rows, jobs))
	}
}

func enqueued(seconds float64) result {
	return result{"jobs": jobs, "seconds": round(seconds), "jobs_per_s": math.Round(float64(jobs) / seconds)}
}

func worked(seconds float64) result {
	line := enqueued(seconds)
	line["workers"], line["connections"] = workers, connections
	return line
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }
