package main

import (
	"context"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type jobArgs struct {
	Num int `json:"num"`
}

func (jobArgs) Kind() string { return "bench" }

type handler func(ctx context.Context, job *river.Job[jobArgs]) error

// A client on at most `connections` connections: River's listener takes its own out of the pool for good.
func riverClient(ctx context.Context, handle func(*pgxpool.Pool) handler) *river.Client[pgx.Tx] {
	pool := connect(ctx, connections-1)
	driver := riverpgxv5.New(pool)
	must(must(rivermigrate.New(driver, nil)).Migrate(ctx, rivermigrate.DirectionUp, nil))
	registry := river.NewWorkers()
	river.AddWorker(registry, river.WorkFunc(handle(pool)))
	return must(river.NewClient(driver, &river.Config{
		// What `river bench` sets, which also runs 2,000 workers: River claims as many jobs at a time as
		// workers are free. The cooldown limits the throughput; its default is 100 ms.
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Logger:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Workers:           registry,
	}))
}

// InsertManyFast is the fastest way in that River has: a COPY.
func riverInsert(ctx context.Context, client *river.Client[pgx.Tx]) {
	for first := 0; first < jobs; first += 10_000 {
		chunk := make([]river.InsertManyParams, min(10_000, jobs-first))
		for i := range chunk {
			chunk[i].Args = jobArgs{Num: first + i}
		}
		must(client.InsertManyFast(ctx, chunk))
		steps.Add(1)
	}
}

func noop(*pgxpool.Pool) handler {
	return func(context.Context, *river.Job[jobArgs]) error {
		handled.Add(1)
		return nil
	}
}

// One row and the job's completion in one transaction, as River documents it.
func write(pool *pgxpool.Pool) handler {
	return func(ctx context.Context, job *river.Job[jobArgs]) error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into effect values ($1)", job.ID); err != nil {
				return err
			}
			_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
			return err
		})
		if err == nil {
			handled.Add(1)
		}
		return err
	}
}

func riverWork(ctx context.Context, writes bool) result {
	db := observe(ctx)
	handle := noop
	if writes {
		handle = write
		must(db.Exec(ctx, "create table effect (job_id bigint primary key)"))
	}
	client := riverClient(ctx, handle)
	riverInsert(ctx, client)
	ready(ctx, db, "select count(*) from river_job")
	start := time.Now()
	check(client.Start(ctx))
	seconds := finish(ctx, db, start, "select count(*) from river_job where state <> 'completed'")
	if writes {
		checkEffects(ctx, db)
	}
	check(client.Stop(ctx))
	return worked(seconds)
}

func riverEnqueue(ctx context.Context) result {
	client := riverClient(ctx, noop)
	start := time.Now()
	riverInsert(ctx, client)
	return enqueued(time.Since(start).Seconds())
}

// From just before Insert until the handler's first line. The first 20 jobs warm up.
func riverLatency(ctx context.Context) result {
	const warmUp = 20
	sent, took := make([]time.Time, warmUp+jobs), make([]float64, warmUp+jobs)
	client := riverClient(ctx, func(*pgxpool.Pool) handler {
		return func(_ context.Context, job *river.Job[jobArgs]) error {
			took[job.Args.Num] = float64(time.Since(sent[job.Args.Num]).Microseconds()) / 1000
			handled.Add(1)
			return nil
		}
	})
	await := func(n int) {
		for handled.Load() < int64(n) {
			time.Sleep(time.Millisecond)
		}
	}
	check(client.Start(ctx))
	for i := range sent {
		if i == warmUp {
			await(warmUp)
		}
		sent[i] = time.Now()
		must(client.Insert(ctx, jobArgs{Num: i}, nil))
		time.Sleep(time.Duration(gapMS) * time.Millisecond)
	}
	await(len(sent))
	took = took[warmUp:]
	slices.Sort(took)
	rank := func(p float64) float64 { return round(took[int(math.Ceil(p*float64(jobs)))-1]) }
	check(client.Stop(ctx))
	return result{"jobs": jobs, "p50_ms": rank(0.50), "p99_ms": rank(0.99)}
}
