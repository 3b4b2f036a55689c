"""What TLS on both links costs the worker, beside what the ssl library itself takes for as many bytes.

By hand: `python -m tests.bench.tls` (`--rounds`, `--keys`, `--sets`). The library alone decrypts as much as the
worker has received and encrypts as much as it has sent, in memory; all else of a link is there without TLS, too.
"""

from __future__ import annotations

import argparse
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shaker.sample import seed
from tests import compiled
from tests.bench.loads import write_load
from tests.bench.measures import RECORDS, all_keys, start_worker, stream_seconds, until
from tests.security.certificates import Authority, tls_server, tls_url
from tests.servers import Server
from tests.worker import Worker, processor_seconds

BLOCK = 256 * 1024  # bytes written at once


class Cost(NamedTuple):
    """What one run took: seconds, seconds of a processor, bytes received of the source and sent to the target."""

    seconds: float
    processor: float
    received: int
    sent: int


class Bench:
    """Servers that speak TLS and plain, and the workers between them."""

    def __init__(self, directory: Path, tree: Path) -> None:
        self.authority = Authority(directory / "authority")
        self.certificate = self.authority.issue("server")
        self._tree = tree

    def server(self) -> Server:
        """Return a server, not started."""
        return tls_server(self.authority, self.certificate)

    def worker(self, source: Server, target: Server, *, encrypted: bool) -> Worker:
        """Return a worker, not started, that uses TLS on both sides, or on none."""
        if not encrypted:
            return start_worker(source, target, self._tree)
        settings = {f"SHAKER_{side}__TLS__CA_FILE": str(self.authority.file) for side in ("SOURCE", "TARGET")}
        return start_worker(tls_url(source), tls_url(target), self._tree, **settings)

    def full_sync(self, source: Server, *, encrypted: bool) -> Cost:
        """Measure a full sync of all that `source` holds."""
        with self.server() as target:
            complete = all_keys(source, target, RECORDS)
            started = time.monotonic()
            with self.worker(source, target, encrypted=encrypted) as worker:
                until(complete, "all keys on the target", worker)
                return _cost(worker, time.monotonic() - started, 0.0)

    def stream(self, commands: Path, *, encrypted: bool) -> Cost:
        """Measure the stream of a file's commands."""
        with (
            self.server() as source,
            self.server() as target,
            self.worker(source, target, encrypted=encrypted) as worker,
        ):
            worker.wait_state("streaming")
            before = processor_seconds(worker.pid)
            return _cost(worker, stream_seconds(source, target, commands), before)

    def library(self, received: int, sent: int) -> float:
        """Return the processor seconds of the ssl library alone, as a client, for so many bytes."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(*map(str, self.certificate))
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
        server = serving.wrap_bio(to_server, to_client, server_side=True)
        while not (_done(client.do_handshake) & _done(server.do_handshake)):
            pass
        block, spent = bytes(BLOCK), 0.0
        for _ in range(received // BLOCK):
            server.write(block)
            data = to_client.read()
            began = time.process_time()
            to_client.write(data)
            while _done(lambda: client.read(BLOCK)):
                pass
            spent += time.process_time() - began
        for _ in range(sent // BLOCK):
            began = time.process_time()
            client.write(block)
            to_server.read()
            spent += time.process_time() - began
        return spent


def _done(call: Callable[[], object]) -> bool:
    try:
        call()
    except ssl.SSLWantReadError:
        return False
    return True


def _cost(worker: Worker, seconds: float, before: float) -> Cost:
    processor = processor_seconds(worker.pid) - before
    metrics = dict(line.rsplit(" ", 1) for line in worker.get("/metrics")[1].splitlines() if line[:1] != "#")
    received, sent = (int(float(metrics[f"shaker_{what}_bytes_total"])) for what in ("received", "sent"))
    return Cost(seconds, processor, received, sent)


def main() -> None:
    """Measure and print a Markdown table of medians."""
    parser = argparse.ArgumentParser(prog="tests.bench.tls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=1_000_000)
    given = parser.parse_args()
    costs: dict[tuple[str, bool], list[Cost]] = {}
    library: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name:
        bench = Bench(Path(name), compiled.build(Path(name)))
        sets = Path(name) / "sets"
        write_load(sets, "SET 100 B", given.sets)
        with bench.server() as source:
            seed(source.client(), given.keys, shortest_expiry=86_400_000)
            runs: dict[str, Callable[[bool], Cost]] = {
                f"full sync of {given.keys:,} keys": lambda encrypted: bench.full_sync(source, encrypted=encrypted),
                f"stream of {given.sets:,} SET": lambda encrypted: bench.stream(sets, encrypted=encrypted),
            }
            for _ in range(given.rounds):
                for what, run in runs.items():
                    for encrypted in (False, True):
                        costs.setdefault((what, encrypted), []).append(run(encrypted))
                    _, _, received, sent = costs[what, True][-1]
                    library.setdefault(what, []).append(bench.library(received, sent))
    sys.stdout.write("| | plain, s | TLS, s | plain, processor s | TLS, processor s | the ssl library alone, s |\n")
    sys.stdout.write("| --- | ---: | ---: | ---: | ---: | ---: |\n")
    for what, alone in library.items():
        cells = [
            statistics.median(cost[figure] for cost in costs[what, encrypted])
            for figure in (0, 1)
            for encrypted in (False, True)
        ]
        row = " | ".join(f"{cell:.2f}" for cell in [*cells, statistics.median(alone)])
        sys.stdout.write(f"| {what} | {row} |\n")


if __name__ == "__main__":
    main()
