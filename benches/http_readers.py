"""Readers of scripts/bench http: asks each page as often as said, over one connection a reader, and tells rates and quantiles as JSON.

usage: http_readers.py HOST:PORT TOKEN READERS REQUESTS
"""

import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import quote

# Elasticsearch compiles what it runs often: the first seconds are not what an operator sees.
WARM = 1000


def word(random):
    # by Zipf's law, as the words of the messages are: frequent ones are asked for often
    return "word%d" % int(20_000 ** random.random())


# Each gives the address of its next request, from the last answer where it goes on.
def newest(random, last):
    return "/jobs"


def filtered(random, last):
    state = random.choice(["done", "dead", "held", "cancelled", "available", "scheduled"])
    kind = random.choice(["", "&kind=history_fetch", "&kind=chat_refresh", "&kind=file_download"])
    return f"/jobs?state={state}{kind}"


def of_chat(random, last):
    return f"/jobs?chat={-1000000000000 - random.randrange(500)}"


def of_error(random, last):
    return "/jobs?error=channel_private"


def deep(random, last):
    following = last and last.get("next")
    return f"/jobs?limit=50&cursor={following}" if following else "/jobs?state=done&limit=50"


def found(random, last):
    return f"/search?text={quote(word(random))}&limit=20"


def two_words(random, last):
    return f"/search?text={quote(word(random) + ' ' + word(random))}&limit=20"


def in_chat(random, last):
    return f"/search?text={word(random)}&chat={-1000000000001 - random.randrange(500)}&sort=newest&limit=20"


def further(random, last):
    following = last and last.get("next")
    return f"/search?text=word1&sort=newest&limit=20&cursor={following}" if following else "/search?text=word1&sort=newest&limit=20"


PAGES = {
    "jobs, newest": newest,
    "jobs, by state and kind": filtered,
    "jobs, of a chat": of_chat,
    "jobs, by error": of_error,
    "jobs, deep": deep,
    "search, a word": found,
    "search, two words": two_words,
    "search, in a chat": in_chat,
    "search, deep": further,
}


def read(host, token, address, seed, count, times, faults):
    chance, connection, last = random.Random(seed), http.client.HTTPConnection(host, timeout=60), None
    for _ in range(count):
        path = "/api/v1" + address(chance, last)
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": "Bearer " + token})
        answer = connection.getresponse()
        body = answer.read()
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            faults.append((answer.status, path, body[:300]))
            return
        last = json.loads(body)
        if "place" in last and last["place"] != "index":
            faults.append(("not from the index", path))
            return


def together(host, token, address, readers, count, seed):
    times, faults = [[] for _ in range(readers)], []
    threads = [threading.Thread(target=read, args=(host, token, address, seed + n, count, times[n], faults)) for n in range(readers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        sys.exit(f"{faults[0]}")
    return sorted(sum(times, [])), time.perf_counter() - began


def main():
    host, token, readers, requests = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pages = []
    for name, address in PAGES.items():
        together(host, token, address, readers, WARM // readers, 1)
        times, took = together(host, token, address, readers, requests // readers, 100)
        quantile = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1000
        pages.append({"page": name, "requests_per_s": len(times) / took, "p50_ms": quantile(0.5), "p99_ms": quantile(0.99)})
        print(f"{name}: p99 {quantile(0.99):.1f} ms", file=sys.stderr)
    print(json.dumps({"pages": pages}))


main()
