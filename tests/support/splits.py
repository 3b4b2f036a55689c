"""Ways to cut bytes, because what comes over a socket may be cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces that end at `places`; places behind the end do not count."""
    ends = sorted({place for place in places if 0 < place < len(data)})
    return [data[start:stop] for start, stop in pairwise([0, *ends, len(data)])]


def every_cut(data: bytes, random_cuts: int = 5) -> Iterator[list[bytes]]:
    """Yield `data` whole, byte by byte, and cut at random places."""
    yield [data]
    yield cut(data, list(range(len(data))))
    numbers = random.Random(len(data))
    for _ in range(random_cuts):
        yield cut(data, [numbers.randrange(len(data) + 1) for _ in range(numbers.randrange(1, 8))])
