"""How fast images come from a service, what sharing them saves, and how long the network waits for them.

    python benchmarks/fetching.py [--latency 0.2] [--connections 8] [--sources 512] [--network-seconds 2.0]
    python benchmarks/fetching.py --faults [--rows 2000]

The service is `tests/first_server.py` in a process of its own, on this machine, and waits ``--latency`` seconds before
each answer. Ideal is ``connections / latency`` images a second. Three measurements, and with ``--faults`` another:

- *rate*: sources all over the sky, an image each, without and with a cache to write to.
- *sharing*: sources as dense as FIRST's catalogue (90 a square degree) over four square degrees; requests, bytes and
  seconds with an image for each, and with one of 1020 px where six or more are in a cell.
- *timeline*: the chunks of a run, with a stand-in for the network that sleeps ``--network-seconds`` a chunk: when each
  was fetched, and how long the network waited for it.
- *faults*: a run's chunks over 4 connections, from a service without faults, from one that fails for 30 % of the
  requests in eight ways, of which one is that no answer ever comes, and from one that answers 30 % with HTTP 503 and
  ``Retry-After: 5``. What cannot be avoided is the time on the connections of answers that fail. Those that never come
  are not counted: others are asked for in their place meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_PROXY"] = "127.0.0.1"
TESTS = str(Path(__file__).parents[1] / "tests")

FAULTY = 0.3  # share of the requests
EIGHT = "500", "503", "429", "reset", "truncated", "empty", "html", "slow"
FAULT_CONNECTIONS = 4


def _serve(latency: float, modes: tuple[str, ...], pipe) -> None:
    sys.path.insert(0, TESTS)
    import numpy as np
    from first_server import FirstServer

    random = np.random.default_rng(0)

    def decide(request):
        return str(random.choice(modes)) if modes and random.random() < FAULTY else "ok"

    with FirstServer(
        latency=latency, decide=decide, slow=3600.0, retry_after="5" if modes == ("503",) else ""
    ) as server:
        pipe.send(server.url)
        while (asked := pipe.recv()) is not None:
            if asked == "forget":
                server.forget()
            answers = [(request.fields["RA"], request.mode) for request in server.requests]
            sizes = [round(float(request.fields["ImageSize"]) * 60 / 1.8) for request in server.requests]
            pipe.send(answers if asked == "answers" else sizes)


@contextmanager
def service(latency: float, modes: tuple[str, ...] = ()):
    """URL of the service, and a function that tells sizes (px) of the images asked for.

    "forget" forgets them; "answers" tells positions and how each was answered. ``modes`` are those of faulty answers.
    """
    context = multiprocessing.get_context("spawn")
    pipe, child = context.Pipe()
    process = context.Process(target=_serve, args=(latency, modes, child), daemon=True)
    process.start()

    def ask(what: str = "requests") -> list[int]:
        pipe.send(what)
        return pipe.recv()

    try:
        yield pipe.recv(), ask
    finally:
        pipe.send(None)
        process.join()


def scattered(count: int, side: float | None = None):
    """Positions all over the sky, or in a square of ``side`` degrees, in the order in which a run takes them."""
    import numpy as np

    from radio_ag.chunks import sky_order

    random = np.random.default_rng(0)
    if side is None:
        ra, dec = random.uniform(120, 240, count), random.uniform(0, 60, count)
    else:
        ra, dec = random.uniform(180, 180 + side / np.cos(np.radians(30)), count), random.uniform(30, 30 + side, count)
    order = sky_order(ra, dec)
    return ra[order], dec[order]


def measure_rate(url: str, ideal: float, connections: int, count: int) -> None:
    from radio_ag.catalog_io.services.first import FirstImages

    ra, dec = scattered(count)
    for cached in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            options = {"service_url": url, "connections": connections, "cache": cached, "share": False}
            source = FirstImages(**options, **({"cache_dir": folder} if cached else {}))
            source.fetch(ra[:connections], dec[:connections])  # imports, connections
            start, processor = time.perf_counter(), time.process_time()
            fields = source.fetch(ra[connections:], dec[connections:])
            seconds, processor = time.perf_counter() - start, time.process_time() - processor
        assert set(fields.status) == {"ok"}, set(fields.status)
        rate = len(fields) / seconds
        print(
            f"rate {'with' if cached else 'without'} a cache: {rate:.1f} images/s, {100 * rate / ideal:.0f} % of the "
            f"ideal {ideal:.0f}; {1000 * processor / len(fields):.1f} ms of processor time an image"
        )


def measure_sharing(url: str, ask, connections: int) -> None:
    from radio_ag.catalog_io.services.first import FirstImages
    from radio_ag.chunks import CHUNK

    ra, dec = scattered(360, side=2.0)
    for share in (False, True):
        ask("forget")
        source = FirstImages(service_url=url, connections=connections, cache=False, share=share)
        start = time.perf_counter()
        for first in range(0, len(ra), CHUNK):
            fields = source.fetch(ra[first : first + CHUNK], dec[first : first + CHUNK])
            assert set(fields.status) == {"ok"}
        seconds, sizes = time.perf_counter() - start, ask()
        megabytes = sum(4 * size**2 for size in sizes) / 1e6
        print(
            f"360 sources in 4 square degrees, {'shared' if share else 'each its own'}: {len(sizes)} requests, "
            f"{megabytes:.0f} MB, {seconds:.1f} s"
        )


def measure_timeline(url: str, connections: int, count: int, network: float) -> None:
    """As `radio_ag.chunks.classify_chunks` does it: the next chunk is fetched and measured while the network works."""
    from radio_ag.catalog_io.services.first import FirstImages
    from radio_ag.chunks import CHUNK
    from radio_ag.preprocess.images import prepare
    from radio_ag.preprocess.islands import measure_islands

    ra, dec = scattered(count)
    source = FirstImages(service_url=url, connections=connections, cache=False, share=False)
    source.fetch(ra[:connections], dec[:connections])
    chunks = [slice(first, first + CHUNK) for first in range(0, count, CHUNK)]
    begin, lock, lines = time.perf_counter(), threading.Lock(), {}

    def clock() -> float:
        return time.perf_counter() - begin

    def measure(number: int) -> None:
        start = clock()
        fields = source.fetch(ra[chunks[number]], dec[chunks[number]])
        fetched = clock()
        measure_islands(fields.data, prepare(fields.data).rms)
        with lock:
            lines[number] = [start, fetched, clock()]

    waited = 0.0
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(measure, 0)
        for number in range(len(chunks)):
            before = clock()
            coming.result()
            ready = clock()
            if number + 1 < len(chunks):
                coming = pool.submit(measure, number + 1)
            time.sleep(network)
            waited += (ready - before) if number else 0.0
            start, fetched, measured = lines[number]
            print(
                f"chunk {number}: fetched {start:6.2f}-{fetched:6.2f} s, measured to {measured:6.2f}, "
                f"network {ready:6.2f}-{clock():6.2f}, which waited {ready - before:.2f} s"
            )
    least = sum(max(0.0, lines[number][2] - lines[number][0] - network) for number in range(1, len(chunks)))
    print(
        f"after the first chunk the network waited {waited:.2f} s; chunks take {least:.2f} s more to come than it works"
    )


def measure_faults(latency: float, count: int) -> None:
    """Rows a second without faults, with faults of eight kinds, and with Retry-After."""
    clean, _ = _run(latency, (), count)
    faulty, answers = _run(latency, EIGHT, count)
    hung = sum(mode == "slow" for _, mode in answers)
    repeats = len(answers) - hung - count
    unavoidable = repeats * clean / count
    print(f"no faults: {clean:.1f} s, {count / clean:.1f} rows/s")
    print(f"eight kinds: {faulty:.1f} s, {count / faulty:.1f} rows/s, {100 * clean / faulty:.0f} % of that")
    print(f"  {len(answers)} requests, {hung} without an answer: {unavoidable:.1f} s cannot be avoided")
    print(f"  beyond them {100 * clean / (faulty - unavoidable):.0f} % of the rate without faults")
    patient, answers = _run(latency, ("503",), count)
    print(f"Retry-After of 5 s: {patient:.1f} s, {count / patient:.1f} rows/s; {len(answers)} requests")


def _run(latency: float, modes: tuple[str, ...], count: int) -> tuple[float, list[tuple[str, str]]]:
    """Seconds of all rows, with the pass at the end, and the answers; it is checked that each image came once."""
    import numpy as np

    from radio_ag.catalog_io.services.first import FirstImages
    from radio_ag.chunks import CHUNK, work_ahead

    ra, dec = scattered(count)

    def fetch(rows):
        return rows, source.fetch(ra[rows], dec[rows])

    def failed(chunks):
        pairs = work_ahead(fetch, chunks, source)
        return [rows[fields.flags != 0] for rows, fields in pairs if fields.flags.any()]

    with service(latency, modes) as (url, ask):
        source = FirstImages(service_url=url, connections=FAULT_CONNECTIONS, cache=False, share=False)
        start = time.perf_counter()
        late = failed(np.split(np.arange(count), range(CHUNK, count, CHUNK)))
        print(f"  asked once more at the end: {sum(map(len, late))} rows; {source.traffic}")
        lost = failed(late)
        seconds = time.perf_counter() - start
        answers = ask("answers")
        source.close()
    came = Counter(position for position, mode in answers if mode == "ok")
    assert not lost, f"{sum(map(len, lost))} rows failed"
    assert len(came) == came.total() == count, "an image was asked for again once it had come"
    return seconds, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--sources", type=int, default=512)
    parser.add_argument("--network-seconds", type=float, default=2.0)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--rows", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.faults:
        measure_faults(arguments.latency, arguments.rows)
        return
    ideal = arguments.connections / arguments.latency
    with service(arguments.latency) as (url, ask):
        measure_rate(url, ideal, arguments.connections, arguments.sources + arguments.connections)
        measure_sharing(url, ask, arguments.connections)
        measure_timeline(url, arguments.connections, arguments.sources, arguments.network_seconds)


if __name__ == "__main__":
    main()
