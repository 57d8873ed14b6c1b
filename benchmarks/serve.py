"""Measure `faceline serve`: photos a second and times to the answer with 1, 8 and 32 clients, and under overload.

    python benchmarks/serve.py PHOTOS --bundle RUN/bundle [--seconds 10] [--cache DIR]

PHOTOS is a folder; takes 50 photos of its most common size. Each client is a thread with a connection of its own, which
sends a photo as soon as the last one is answered. The clients share the machine's cores with the server. First comes a
server that predicts each photo alone, then one that predicts the photos of several requests together, then one whose
queue is too short for its clients. The server's own core time a photo does not depend on what else the machine does.
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from photos_of_one_size import chosen

from pipeline.context import available_cpus

PHOTOS = 50
WARM_UP = 0.2  # of the time, before anything counts
PATIENT = ("--timeout", "600")  # also on a busy machine
ALONE = ("--batch", "1", "--wait", "0")
SHORT_QUEUE = ("--queue", "4")

Answer = tuple[float, int, float]  # when it came, its code, and the milliseconds that it took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cache", default=None)
    args = parser.parse_args()
    paths, images = chosen(args.photos, PHOTOS)
    photos = [path.read_bytes() for path in paths]
    print(f"{len(photos)} photos of {images[0].shape[1]}x{images[0].shape[0]}, {available_cpus()} cores\n")
    words = [str(args.bundle), *(["--cache", args.cache] if args.cache else [])]
    print(
        "| | clients | photos a second | ratio | core ms a photo | p50, ms | p99, ms |\n|---|---|---|---|---|---|---|"
    )
    first = 0.0
    for name, options, counts in (("each photo alone", ALONE, (1,)), ("together", (), (1, 8, 32))):
        with server([*words, *PATIENT, *options]) as port:
            for clients in counts:
                before = counters(port)
                answers = ask(port, photos, clients, args.seconds)
                core, answered = (after - earlier for after, earlier in zip(counters(port), before, strict=True))
                assert {code for _, code, _ in answers} == {200}
                rate = len(answers) / args.seconds
                first = first or rate
                row = f"{name} | {clients} | {rate:.1f} | {rate / first:.2f} | {core / answered * 1000:.1f}"
                print(f"| {row} | {percentiles(answers)} |", flush=True)
    with server([*words, *SHORT_QUEUE]) as port:
        answers = ask(port, photos, 32, args.seconds)
    refused = [answer for answer in answers if answer[1] == 503]
    print("\n| overload: 32 clients, a queue of 4 | answers a second | p50, ms | p99, ms |\n|---|---|---|---|")
    for name, group in (("answered", [answer for answer in answers if answer[1] == 200]), ("refused", refused)):
        print(f"| {name} | {len(group) / args.seconds:.1f} | {percentiles(group)} |")
    print(f"other codes: {sorted({code for _, code, _ in answers} - {200, 503}) or 'none'}")


@contextmanager
def server(words: Sequence[str]) -> Generator[int]:
    """Yield the port of a server in a process of its own."""
    command = [sys.executable, "-m", "pipeline", "serve", *words, "--port", "0", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as running:
        assert running.stdout is not None
        try:
            yield int(json.loads(running.stdout.readline())["url"].rstrip("/").rsplit(":", 1)[1])
        finally:
            running.terminate()


def counters(port: int) -> tuple[float, float]:
    """The server's core seconds, and the photos that it has predicted."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return float(lines["process_cpu_seconds_total"]), float(lines["faceline_batch_photos_sum"])


def ask(port: int, photos: Sequence[bytes], clients: int, seconds: float) -> list[Answer]:
    """Send photos from so many clients, and return the answers after the warm-up."""
    started = time.perf_counter()
    counted, end = started + WARM_UP * seconds, started + (1 + WARM_UP) * seconds

    def client(number: int) -> list[Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answers: list[Answer] = []
        while (sent := time.perf_counter()) < end:
            connection.request("POST", "/predict", photos[(7 * number + len(answers)) % len(photos)])
            response = connection.getresponse()
            response.read()
            now = time.perf_counter()
            answers.append((now, response.status, (now - sent) * 1000))
            if response.status == 503:
                time.sleep(0.1)  # a client that obeys Retry-After would wait longer
        connection.close()
        return answers

    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for answers in pool.map(client, range(clients)) for answer in answers]
    return [answer for answer in answers if counted <= answer[0] < end]


def percentiles(answers: Sequence[Answer]) -> str:
    if not answers:
        return " | "
    times = [milliseconds for _, _, milliseconds in answers]
    return " | ".join(f"{value:.0f}" for value in np.percentile(times, (50, 99)))


if __name__ == "__main__":
    main()
