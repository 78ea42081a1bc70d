"""How fast images come from a service, what sharing them saves, and how long the network waits for them.

    python benchmarks/fetching.py [--latency 0.2] [--connections 8] [--sources 512] [--network-seconds 2.0]

The service is `tests/first_server.py` in a process of its own, on this machine, and waits ``--latency`` seconds before
each answer. Ideal is ``connections / latency`` images a second. Three measurements:

- *rate*: sources all over the sky, an image each, without and with a cache to write to.
- *sharing*: sources as dense as FIRST's catalogue (90 a square degree) over four square degrees; requests, bytes and
  seconds with an image for each, and with one of 1020 px where six or more are in a cell.
- *timeline*: the chunks of a run, with a stand-in for the network that sleeps ``--network-seconds`` a chunk: when each
  was fetched, and how long the network waited for it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_PROXY"] = "127.0.0.1"
TESTS = str(Path(__file__).parents[1] / "tests")


def _serve(latency: float, pipe) -> None:
    sys.path.insert(0, TESTS)
    from first_server import FirstServer

    with FirstServer(latency=latency) as server:
        pipe.send(server.url)
        while (asked := pipe.recv()) is not None:
            if asked == "forget":
                server.forget()
            pipe.send([round(float(request.fields["ImageSize"]) * 60 / 1.8) for request in server.requests])


@contextmanager
def service(latency: float):
    """URL of the service, and a function that tells sizes (px) of the images asked for; "forget" forgets them."""
    context = multiprocessing.get_context("spawn")
    pipe, child = context.Pipe()
    process = context.Process(target=_serve, args=(latency, child), daemon=True)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--sources", type=int, default=512)
    parser.add_argument("--network-seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    ideal = arguments.connections / arguments.latency
    with service(arguments.latency) as (url, ask):
        measure_rate(url, ideal, arguments.connections, arguments.sources + arguments.connections)
        measure_sharing(url, ask, arguments.connections)
        measure_timeline(url, arguments.connections, arguments.sources, arguments.network_seconds)


if __name__ == "__main__":
    main()
