"""The peer procrastinate, with its defaults: one worker process, LISTEN/NOTIFY on, finished jobs kept."""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import os
import sys
import threading
import time

import procrastinate
import psycopg

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["noop", "enqueue", "latency"])
parser.add_argument("--jobs", type=int, default=1000)
parser.add_argument("--workers", type=int, default=20, help="how many jobs run at a time")
parser.add_argument("--connections", type=int, default=20, help="connections to Postgres, at most")
parser.add_argument("--gap-ms", type=int, default=20, help="pause between two enqueued jobs (latency)")
args = parser.parse_args()
if min(args.jobs, args.workers) < 1 or args.connections < 2 or args.gap_ms < 0:
    parser.error("--jobs and --workers are at least 1, --connections at least 2")

logging.basicConfig(level=logging.ERROR)
url = os.environ["DATABASE_URL"]
pool_size = args.connections - 1  # the worker's listener has a connection of its own beside the pool
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=url, min_size=pool_size, max_size=pool_size)
)
handled = 0  # jobs whose handler has run
steps = 0  # other signs of progress
sent: dict[int, float] = {}
took: list[float] = []


def fail(message):
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def watch():
    """The time limit of every wait: 120 s without any progress."""
    last, since = -1, time.monotonic()
    while True:
        time.sleep(1)
        if handled + steps != last:
            last, since = handled + steps, time.monotonic()
        elif time.monotonic() - since > 120:
            fail(f"no progress for 120 s: {handled} of {args.jobs} jobs have run")


@app.task(name="noop")
async def noop_task(num):
    global handled
    handled += 1


@app.task(name="latency")
async def latency_task(num):
    global handled
    took.append((time.perf_counter() - sent[num]) * 1000)
    handled += 1


async def enqueue_all():
    global steps
    for first in range(0, args.jobs, 1000):
        await noop_task.batch_defer_async(
            *({"num": num} for num in range(first, min(first + 1000, args.jobs)))
        )
        steps += 1


@contextlib.asynccontextmanager
async def running_worker():
    worker = asyncio.create_task(
        app.run_worker_async(concurrency=args.workers, install_signal_handlers=False)
    )
    worker.add_done_callback(lambda task: task.cancelled() or fail(f"the worker ended: {task.exception()}"))
    yield
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


async def reached(number, pause):
    while handled < number:
        await asyncio.sleep(pause)


def result(seconds):
    return {"jobs": args.jobs, "seconds": round(seconds, 3), "jobs_per_s": round(args.jobs / seconds)}


async def enqueue():
    start = time.perf_counter()
    await enqueue_all()
    return result(time.perf_counter() - start)


async def noop():
    global steps
    # The connection that prepares and checks: it is none of the peer's.
    db = await psycopg.AsyncConnection.connect(url, autocommit=True)

    async def count(query):
        return (await (await db.execute(query)).fetchone())[0]

    await enqueue_all()
    rows = await count("select count(*) from procrastinate_jobs")
    if rows != args.jobs:
        fail(f"{rows} jobs are there, not {args.jobs}: the database was not empty")
    await db.execute("analyze")
    start = time.perf_counter()
    async with running_worker():
        await reached(args.jobs, 0.005)
        last = None
        while True:
            asked = time.perf_counter()
            rows = await count("select count(*) from procrastinate_jobs where status <> 'succeeded'")
            if rows == 0:
                break
            if rows != last:
                last, steps = rows, steps + 1
            await asyncio.sleep(0.05)
    await db.close()
    return {**result(asked - start), "workers": args.workers, "connections": args.connections}


async def latency():
    """From just before defer until the handler's first line. The first 20 jobs warm up."""
    warm_up = 20
    async with running_worker():
        for num in range(warm_up + args.jobs):
            if num == warm_up:
                await reached(warm_up, 0.001)
                took.clear()
            sent[num] = time.perf_counter()
            await latency_task.defer_async(num=num)
            await asyncio.sleep(args.gap_ms / 1000)
        await reached(warm_up + args.jobs, 0.001)
    took.sort()
    p50, p99 = (round(took[math.ceil(p * args.jobs) - 1], 3) for p in (0.50, 0.99))
    return {"jobs": args.jobs, "p50_ms": p50, "p99_ms": p99}


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        return await {"noop": noop, "enqueue": enqueue, "latency": latency}[args.mode]()


threading.Thread(target=watch, daemon=True).start()
try:
    print(json.dumps(asyncio.run(main())))
except Exception as error:
    fail(f"{type(error).__name__}: {error}")
