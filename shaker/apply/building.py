"""One value of a snapshot that is built by commands under a temporary key, while its payload arrives in chunks.

A string is the exception: one SET, sent in pieces, has its name at once, and the target changes it only when it is
whole. The same holds for the memory of both sides: a chunk is decoded batch by batch as its commands are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shaker.codec.rdb.value_types import PLAIN_STRING
from shaker.codec.resp.replies import encode
from shaker.codec.values.commands import Survey, Surveyor, ValueCommands
from shaker.codec.values.decoder import PayloadDecoder
from shaker.codec.values.elements import NEVER, Element, ExpiringFields, StringPart, StringStart
from shaker.errors import UnfaithfulError, UnsupportedError, quoted
from shaker.model.items import SnapshotChunk
from shaker.rules.built_values import lacking, publish
from shaker.rules.expiry import Times
from shaker.rules.target_form import TargetForm

# Bytes of commands made at a time.
AT_ONCE: Final = 256 * 1024
# A batch of elements that makes no commands counts as so many bytes.
LOOK: Final = 16 * 1024
Piece = tuple[bytes, int]  # bytes, and how many requests end in them
NOTHING: Final[Piece] = (b"", 0)


class Building:
    """Makes the commands of one value; `times` apply to the expiries of its fields.

    Give it the chunks by `receive`, in order, each when all commands of the one before are taken. `requests` counts
    the whole requests taken, `deferred` becomes true when an expiry of a field is deferred.
    """

    def __init__(self, first: SnapshotChunk, form: TargetForm, times: Times, max_string: int) -> None:
        self.entry = first.entry
        self.deferred = False
        self._form = form
        self._times = times
        self._max_string = max_string
        self._decoder = PayloadDecoder(version=self.entry.version, max_string=max_string)
        self._chunk: bytes | None = None
        self._last = False
        self._finished = False
        self._string = self.entry.number == PLAIN_STRING
        self._whole = not first.more  # the value is here: it is looked through before its first command
        self._pieces = self._strings() if self._string else self._commands()

    @property
    def hungry(self) -> bool:
        """Whether it needs the next chunk, or has ended."""
        return self._chunk is None

    @property
    def finished(self) -> bool:
        """Whether all commands of the last chunk were taken."""
        return self._finished

    def receive(self, data: bytes, *, last: bool) -> None:
        """Take the next chunk."""
        self._chunk = data
        self._last = last

    def take(self, out: list[bytes]) -> int:
        """Append some commands; return how many. Fewer than there are bytes for: `hungry`, or `finished`."""
        requests = size = 0
        try:
            while size < AT_ONCE and self._chunk is not None:
                piece = next(self._pieces, None)
                if piece is None:
                    self._chunk, self._finished = None, True
                    break
                out.append(piece[0])
                requests += piece[1]
                size += len(piece[0]) or LOOK
        except UnsupportedError as error:
            raise lacking(self.entry.key, error.lacking) from error
        except UnfaithfulError as error:
            raise UnfaithfulError(
                f"{error.what}: key {quoted(self.entry.key)} of database {self.entry.database}",
                hint=error.hint,
                kind=error.kind,
            ) from error
        return requests

    def ends(self, times: Times) -> tuple[list[bytes], bool]:
        """Return the requests that publish the value, and whether its expiry is deferred."""
        expiry, waits = self._expiry(times)
        return ([] if self._string else publish(self.entry.key, expiry, self._form)), waits

    def _expiry(self, times: Times) -> tuple[int, bool]:
        """Return the expiry of the key to write, 0 for none, and whether it is deferred."""
        at = self.entry.expires_at_ms
        if at < 0:
            return 0, False
        return (times.until, True) if at < times.near else (at + times.margin or 1, False)

    def _elements(self) -> Iterator[Element | None]:
        """Yield elements, and None where the next chunk is needed."""
        while True:
            chunk = self._chunk
            assert chunk is not None  # `take` asks no further
            self._decoder.receive(chunk)
            del chunk
            last, self._chunk = self._last, b""
            while (element := self._decoder.next_element()) is not None:
                yield element
            if last:
                self._decoder.finish()
                return
            self._chunk = None
            yield None

    def _commands(self) -> Iterator[Piece]:
        key = self._form.building
        yield encode("UNLINK", key), 1
        found: Survey | None = None
        if self._whole:
            assert self._chunk is not None
            surveyor = Surveyor(self._form.able, version=self.entry.version, max_string=self._max_string)
            surveyor.receive(self._chunk)
            while surveyor.look():
                yield NOTHING
            found = surveyor.found()
        commands: ValueCommands | None = None
        for element in self._elements():
            kind = self._decoder.kind
            if commands is None and kind is not None:
                commands = ValueCommands(key, found or Survey(kind, None), self._form.able)
            if element is None or commands is None:
                yield NOTHING
                continue
            for each in commands.add(self._later(element) if isinstance(element, ExpiringFields) else element):
                yield each, 1
        if commands is not None:
            for each in commands.finish():
                yield each, 1

    def _later(self, element: ExpiringFields) -> ExpiringFields:
        """Give expiries of fields their margin, or defer them."""
        near, until, margin = self._times.near, self._times.until, self._times.margin
        fields = []
        for field, value, at in element.fields:
            if at == NEVER:
                fields.append((field, value, at))
            elif at < near:
                self.deferred = True
                fields.append((field, value, max(at, until)))
            else:
                fields.append((field, value, at + margin))
        return ExpiringFields(fields)

    def _strings(self) -> Iterator[Piece]:
        key = self.entry.key
        expiry, _ = self._expiry(self._times)
        for element in self._elements():
            if isinstance(element, StringStart):
                count = 5 if expiry else 3
                yield b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (count, len(key), key, element.size), 0
            elif isinstance(element, StringPart):
                yield element.data, 0
            else:
                yield NOTHING
        yield b"\r\n" + (b"$4\r\nPXAT\r\n$%d\r\n%d\r\n" % (len(b"%d" % expiry), expiry) if expiry else b""), 1
