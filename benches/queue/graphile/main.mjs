// The peer graphile-worker, in two settings: `default`, and `batched`, which is what its
// performance docs measure with (localQueue of 500, completions batched without a delay).
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const usage =
  "usage: main.mjs default|batched noop|enqueue|latency --jobs N [--workers W] [--connections C] [--gap-ms 20]";
const text = (value) => ({ type: "string", default: value });
let args;
try {
  args = parseArgs({
    allowPositionals: true,
    options: { jobs: text("10000"), workers: text("24"), connections: text("25"), "gap-ms": text("20") },
  });
} catch (error) {
  fail(`${error.message}; ${usage}`);
}
const [setting, mode] = args.positionals;
const [jobs, workers, connections, gapMs] = ["jobs", "workers", "connections", "gap-ms"].map((name) =>
  Number(args.values[name]),
);
const connectionString = process.env.DATABASE_URL;

let handled = 0; // jobs whose handler has run
let steps = 0; // other signs of progress

function fail(message) {
  console.error(message);
  process.exit(1);
}

// The time limit of every wait: 120 s without any progress.
function watch() {
  let last = -1;
  let since = performance.now();
  setInterval(() => {
    if (handled + steps !== last) [last, since] = [handled + steps, performance.now()];
    else if (performance.now() - since > 120_000) fail(`no progress for 120 s: ${handled} of ${jobs} jobs have run`);
  }, 1000).unref();
}

const preset = {
  worker: {
    connectionString,
    concurrentJobs: workers,
    maxPoolSize: connections,
    // Its own logger writes lines about jobs to stdout; this one says what goes wrong.
    logger: new Logger(() => (level, message) => ["error", "warning"].includes(level) && console.error(message)),
    ...(setting === "batched" && { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }),
  },
};

const start = (handler) =>
  run({ preset, taskList: { bench: handler }, parsedCronItems: [], noHandleSignals: true }).then((runner) => {
    runner.promise.catch((error) => fail(error.message));
    return runner;
  });

async function withUtils(work) {
  const utils = await makeWorkerUtils({ preset });
  await utils.migrate();
  const answer = await work(utils);
  await utils.release();
  return answer;
}

async function enqueueAll(utils) {
  for (let first = 0; first < jobs; first += 10_000) {
    const length = Math.min(10_000, jobs - first);
    await utils.addJobs(Array.from({ length }, (_, i) => ({ identifier: "bench", payload: { num: first + i } })));
    steps++;
  }
}

const round = (x) => Math.round(x * 1000) / 1000;
const result = (seconds) => ({ jobs, seconds: round(seconds), jobs_per_s: Math.round(jobs / seconds) });

async function enqueue() {
  return withUtils(async (utils) => {
    const from = performance.now();
    await enqueueAll(utils);
    return result((performance.now() - from) / 1000);
  });
}

// A completed job is a deleted one, so the work is done when the table is empty.
async function noop() {
  await withUtils(enqueueAll);
  const db = new pg.Client({ connectionString }); // checks; it is none of the peer's connections
  await db.connect();
  const left = async () => Number((await db.query("select count(*) from graphile_worker.jobs")).rows[0].count);
  if ((await left()) !== jobs) fail(`${await left()} jobs are there, not ${jobs}: the database was not empty`);
  await db.query("analyze");

  const from = performance.now();
  const runner = await start(() => void handled++);
  while (handled < jobs) await sleep(5);
  let asked = performance.now();
  for (let rows = await left(), last = rows; rows > 0; rows = await left()) {
    if (rows !== last) [last, steps] = [rows, steps + 1];
    await sleep(50);
    asked = performance.now();
  }
  await runner.stop();
  await db.end();
  return { ...result((asked - from) / 1000), workers, connections };
}

// From just before addJob until the handler's first line. The first 20 jobs warm up.
async function latency() {
  const warmUp = 20;
  const sent = [];
  const took = [];
  await withUtils(() => {});
  const runner = await start(({ num }) => {
    took[num] = performance.now() - sent[num];
    handled++;
  });
  for (let num = 0; num < warmUp + jobs; num++) {
    while (num === warmUp && handled < warmUp) await sleep(1);
    sent[num] = performance.now();
    await runner.addJob("bench", { num });
    await sleep(gapMs);
  }
  while (handled < warmUp + jobs) await sleep(1);
  await runner.stop();
  const sorted = took.slice(warmUp).sort((a, b) => a - b);
  const rank = (p) => round(sorted[Math.ceil(p * jobs) - 1]);
  return { jobs, p50_ms: rank(0.5), p99_ms: rank(0.99) };
}

const chosen = { noop, enqueue, latency }[mode];
const whole = (value, least) => Number.isInteger(value) && value >= least;
if (!["default", "batched"].includes(setting) || !chosen || args.positionals.length > 2) fail(usage);
if (!whole(jobs, 1) || !whole(workers, 1) || !whole(connections, 2) || !whole(gapMs, 0)) fail(usage);
watch();
process.on("uncaughtException", (error) => fail(error.message));
chosen().then((line) => console.log(JSON.stringify(line)), (error) => fail(error.message));
