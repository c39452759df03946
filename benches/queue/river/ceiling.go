package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What the same Postgres gives a loop that only claims and completes: no leases, no retries,
// no wake-ups. Not a queue to use, but the mark to hold queues against.
const (
	ceilingSchema = `
		create table job (id bigint generated always as identity primary key, state text not null default 'ready');
		create index on job (id) where state = 'ready';
		create table effect (job_id bigint primary key)`

	claimMany = `update job set state = 'running' where id in
		(select id from job where state = 'ready' order by id limit 100 for update skip locked) returning id`
	completeMany = `update job set state = 'done' where id = any($1)`

	claimOne    = `select id from job where state = 'ready' order by id limit 1 for update skip locked`
	completeOne = `update job set state = 'done' where id = $1`
)

func ceilingWork(ctx context.Context, writes bool) result {
	db := observe(ctx)
	must(db.Exec(ctx, ceilingSchema))
	must(db.Exec(ctx, "insert into job (state) select 'ready' from generate_series(1, $1::int)", jobs))
	ready(ctx, db, "select count(*) from job")
	pool := connect(ctx, connections)
	turn := claimAndComplete
	if writes {
		turn = oneTransaction
	}
	start := time.Now()
	for range workers {
		go func() {
			// Nobody adds jobs, so a loop ends when none is ready.
			for done := must(turn(ctx, pool)); done > 0; done = must(turn(ctx, pool)) {
				handled.Add(int64(done))
			}
		}()
	}
	seconds := finish(ctx, db, start, "select count(*) from job where state <> 'done'")
	if writes {
		checkEffects(ctx, db)
	}
	return worked(seconds)
}

// Up to 100 jobs with two statements, each a transaction of its own.
func claimAndComplete(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	rows, err := pool.Query(ctx, claimMany)
	if err != nil {
		return 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	_, err = pool.Exec(ctx, completeMany, ids)
	return len(ids), err
}

// One job in one transaction: lock its row, write its effect, mark it done.
func oneTransaction(ctx context.Context, pool *pgxpool.Pool) (done int, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, claimOne).Scan(&id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "insert into effect values ($1)", id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, completeOne, id)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return 1, err
}
