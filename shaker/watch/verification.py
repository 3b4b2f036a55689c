"""Progress and findings of the verification: counted by the verify job, read by status, metrics and page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from shaker.model.differences import NO_DATABASE, Difference, Kind
from shaker.text import printable

EXAMPLES: Final = 100  # differing keys that are named


@dataclass(slots=True)
class Pass:
    """One walk over all keys of both servers. Times are Unix seconds."""

    began: float = 0.0
    ended: float = 0.0
    offset: int = 0  # the stream's offset at the end
    keys: int = 0  # compared, each once
    bytes: int = 0  # of DUMP payloads, on the source
    total: int = 0  # keys to compare: those of the source, 0 where unknown
    passed: int = 0  # keys that the walk has passed, on the source and then on the target
    to_pass: int = 0  # keys of both, 0 where unknown

    @property
    def share(self) -> float | None:
        """The part of the walk that is done, 0 to 1; None where its length is unknown."""
        return min(1.0, self.passed / self.to_pass) if self.to_pass else None

    def seconds(self, now: float) -> float:
        """Return the seconds that the pass has taken so far."""
        return max(0.0, (self.ended or now) - self.began) if self.began else 0.0


@dataclass(slots=True)
class Findings:
    """Findings of one pass. `differences` are proven; beyond those that are kept, `more` are counted."""

    counted: Pass = field(default_factory=Pass)
    differences: dict[tuple[int, bytes], Difference] = field(default_factory=dict)
    more: int = 0
    equal_again: set[tuple[int, bytes]] = field(
        default_factory=set
    )  # keys that differed, and then were found equal
    repaired: int = 0
    too_busy: dict[tuple[int, bytes], str] = field(default_factory=dict)  # keys that changed during each comparison
    libraries: int | None = None  # function libraries that were compared, None where they were not
    rejected_before: int = -1  # rejected commands when the pass began, -1 where another process began it

    @property
    def clean(self) -> bool:
        """Whether every key was found equal."""
        return not self.differences and not self.more and not self.too_busy

    def add_libraries(self, differing: list[Difference], repaired: int, compared: int | None) -> None:
        """Take over the outcome of a comparison of the function libraries."""
        self.differences |= {(each.database, each.key): each for each in differing}
        self.repaired += repaired
        self.libraries = compared

    def report(self, now: float) -> dict[str, Any]:
        """Return the report of the pass, as `shaker verify --json` prints it."""
        return {
            "equal": self.clean,
            "keys_compared": self.counted.keys,
            "bytes_compared": self.counted.bytes,
            "libraries_compared": self.libraries,
            "offset": self.counted.offset,
            "seconds": round(self.counted.seconds(now), 3),
            "differences": by_kind(self.differences.values()),
            "examples": examples(self.differences.values()),
            "repaired": self.repaired,
            "too_busy": [shown(key) for _, key in self.too_busy],
        }


@dataclass(slots=True)
class Verification:
    """The state of the verification of one worker."""

    enabled: bool = False
    running: bool = False
    paused_because: str = ""  # why no keys are compared at the moment, empty while they are
    passes: int = 0  # whole ones
    current: Findings = field(default_factory=Findings)
    last: Findings | None = None  # of the last whole pass
    known: dict[tuple[int, bytes], Difference] = field(default_factory=dict)  # differences not found equal since
    repaired: int = 0
    keys_compared: int = 0  # by this process, in all passes
    bytes_compared: int = 0
    requested: dict[str, Any] | None = None  # the pass that was asked for last: id, running, report

    def saved(self, position: str) -> str:
        """Return the progress as the checkpoint keeps it: the position of the pass, its counts, the last whole one."""
        current = self.current.counted
        last = self.last.counted if self.last else Pass()
        return json.dumps(
            [
                *(position, round(current.began), current.keys, current.bytes),
                *(self.passes, round(last.began), round(last.ended), last.offset, last.keys, last.bytes),
                current.passed,
            ]
        )

    def restore(self, text: str) -> str:
        """Take over saved progress; return the position of the pass, empty where there is none to resume."""
        try:
            position, began, keys, size, passes, last_began, ended, offset, last_keys, last_size, passed = (
                json.loads(text)
            )
            current = Pass(began=float(began), keys=int(keys), bytes=int(size), passed=int(passed))
            last = Pass(float(last_began), float(ended), int(offset), int(last_keys), int(last_size))
            self.passes = int(passes)
        except (ValueError, TypeError):
            return ""
        self.current = Findings(current)
        self.last = Findings(last) if last.ended else None
        return str(position)

    def take(self, findings: Findings, *, whole: bool) -> None:
        """Take over the findings of a pass; a whole pass replaces all earlier ones."""
        if whole:
            self.passes += 1
            self.last = findings
            self.known = dict(findings.differences)
        else:
            for place in findings.equal_again:
                self.known.pop(place, None)
            self.known |= findings.differences

    def document(self, now: float) -> dict[str, Any]:
        """Return the `verification` part of `/status`."""
        last, current = self.last.counted if self.last else None, self.current.counted
        share = current.share
        seconds = current.seconds(now)
        left = seconds / share * (1 - share) if self.running and share else None
        return {
            "enabled": self.enabled,
            "running": self.running,
            "paused_because": self.paused_because or None,
            "passes": self.passes,
            "last_pass_ended": last.ended if last else None,
            "last_pass_seconds_ago": round(now - last.ended, 1) if last else None,
            "last_pass_offset": last.offset if last else None,
            "last_pass_keys": last.keys if last else None,
            "last_pass_bytes": last.bytes if last else None,
            "last_pass_libraries": self.last.libraries if self.last else None,
            "keys_compared": current.keys,
            "keys_total": current.total,
            "share": None if share is None else round(share, 4),
            "bytes_compared": current.bytes,
            "eta_seconds": None if left is None else round(left, 1),
            "differences": by_kind(self.known.values()),
            "examples": examples(self.known.values()),
            "repaired": self.repaired,
            "too_busy": [shown(key) for _, key in list(self.current.too_busy)[:EXAMPLES]],
            "requested": self.requested,
        }


def by_kind(differences: Iterable[Difference]) -> dict[str, int]:
    """Return the number of differences of each kind."""
    counts = Counter(difference.kind for difference in tuple(differences))
    return {str(kind): counts[kind] for kind in Kind}


def shown(key: bytes) -> str:
    """Return a key as JSON and logs show it."""
    return printable(key.decode("utf-8", "backslashreplace"))


def named(difference: Difference) -> str:
    """Return a difference as a sentence names it."""
    name = shown(difference.key[:128])
    library = difference.kind is Kind.FUNCTION
    place = f"function library {name}" if library else f"{name} in database {difference.database}"
    return f"{place} ({difference.kind}: {difference.detail})"


def examples(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Return the first differing keys, as JSON has them."""
    return [
        {
            "database": None if each.database == NO_DATABASE else each.database,
            "key": shown(each.key),
            "kind": str(each.kind),
            "detail": each.detail,
        }
        for each in list(differences)[:EXAMPLES]
    ]
