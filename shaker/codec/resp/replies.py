"""RESP2: requests out, replies in (redis.io/docs/reference/protocol-spec; server file src/networking.c).

Replies are counted and skipped, never held: a reply may be larger than memory. Only errors are kept, shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shaker.errors import CorruptError, quoted

# Longest line (status, error, integer, length) that a server may send; Redis's own limit for inline input.
MAX_LINE: Final = 64 * 1024
# Errors kept of one run of replies and the length kept of each: enough to report, and bounded.
MAX_ERRORS: Final = 1000
MAX_ERROR_TEXT: Final = 256


def encode(*arguments: bytes | str | int) -> bytes:
    """Return one request: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def encode_each(commands: Sequence[Sequence[bytes | str | int]], keys: Sequence[bytes]) -> bytes:
    """Return requests as `encode` does: each of `commands` with each of `keys` as its last argument, key by key."""
    heads = []
    for command in commands:
        # An empty last argument takes 6 bytes: its length and two ends of lines.
        heads.append(encode(*command, b"")[:-6])
    parts = []
    for key in keys:
        tail = b"$%d\r\n%b\r\n" % (len(key), key)
        for head in heads:
            parts.append(head)
            parts.append(tail)
    return b"".join(parts)


def short_line(buffer: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the number of up to three digits in the line at `position`, and where the next line begins; or (-1, -1).

    Nearly all numbers are such, and a look at each byte costs less than calls that find the end and convert.
    """
    if position + 6 > end:
        return -1, -1
    number = buffer[position + 1] - 48
    if not 0 <= number <= 9:
        return -1, -1
    position += 2
    byte = buffer[position]
    if 48 <= byte <= 57:
        number = number * 10 + byte - 48
        position += 1
        byte = buffer[position]
        if 48 <= byte <= 57:
            number = number * 10 + byte - 48
            position += 1
            byte = buffer[position]
    if byte != 13 or buffer[position + 1] != 10:
        return -1, -1
    return number, position + 2


class ReplyScanner:
    """Counts the replies of a pipeline without holding their bodies; any split of the bytes gives the same result.

    `errors` collects (position, text) for each error among the replies counted by `skip` since `clear_errors`;
    position counts those replies from 0. Errors nested inside an array belong to that reply's value and are not
    collected. Raises CorruptError for bytes that are no RESP2 reply.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._raw = 0  # bytes of a bulk string's body, CRLF included, that are still to come
        self._open = 0  # items of the current reply that are still to come; 0 between replies
        self._counted = 0
        self.open_bytes = 0  # bytes read by `skip` of the reply that is not whole yet
        self.errors: list[tuple[int, str]] = []
        self.error_count = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the server."""
        rest = self._buffer[self._position :]
        self._buffer = rest + data if rest else data
        self._position = 0

    @property
    def pending(self) -> int:
        """Bytes fed and not read."""
        return len(self._buffer) - self._position

    def clear_errors(self) -> None:
        """Start a new run of replies: positions count from 0 again."""
        self.errors = []
        self.error_count = 0
        self._counted = 0

    def skip_same(self, line: bytes, count: int) -> int:
        """Skip up to `count` replies that are exactly `line`; return how many were skipped.

        One comparison for the whole run: the fast path for +OK and +QUEUED. Stops before the first other reply.
        """
        if self._open or count <= 0:
            return 0
        size = len(line)
        available = min(count, (len(self._buffer) - self._position) // size)
        done = 0
        while available:
            if self._buffer.startswith(line * available, self._position):
                self._position += available * size
                done += available
                break
            if available == 1:
                break
            # Halve towards the first reply that differs.
            half = available // 2
            if self._buffer.startswith(line * half, self._position):
                self._position += half * size
                done += half
                available -= half
            else:
                available = half
        self._counted += done
        return done

    def skip(self, count: int) -> int:
        """Skip up to `count` whole replies of any kind; return how many were skipped."""
        buffer = self._buffer
        size = len(buffer)
        position = self._position
        raw = self._raw
        open_items = self._open
        whole = position - self.open_bytes
        done = number = 0
        while done < count:
            if raw:
                take = min(raw, size - position)
                position += take
                raw -= take
                if raw:
                    break
            else:
                if position >= size:
                    break
                kind = buffer[position]
                if kind == 36 or kind == 42:
                    number, behind = short_line(buffer, position, size)
                else:
                    behind = buffer.find(b"\r\n", position) + 2
                if behind < 2:
                    number, behind = self._line(buffer, position)
                    if behind < 0:
                        break
                top = open_items == 0  # not an item of an array, be it the last one
                if top:
                    open_items = 1
                if kind == 36:  # $ bulk string
                    position = behind
                    if number >= 0:
                        raw = number + 2
                        if size - position >= raw:
                            position += raw
                            raw = 0
                        else:
                            continue
                elif kind == 42:  # * array
                    position = behind
                    if number > 0:
                        open_items += number
                elif kind == 43 or kind == 58:  # + status, : integer
                    position = behind
                elif kind == 45:  # - error
                    if top:
                        self._keep_error(self._counted + done, buffer[position + 1 : behind - 2])
                    position = behind
                else:
                    raise CorruptError(f"the target sent a reply of unknown kind (byte {kind})")
            open_items -= 1
            if open_items == 0:
                done += 1
                whole = position
        self.open_bytes = position - whole
        self._position, self._raw, self._open = position, raw, open_items
        self._counted += done
        return done

    def _line(self, buffer: bytes, position: int) -> tuple[int, int]:
        """Return the length in the line at `position`, and where the next line begins, -1 where it is incomplete."""
        end = buffer.find(b"\r\n", position)
        if end < 0:
            if len(buffer) - position > MAX_LINE:
                raise CorruptError(f"the target sent a reply line of more than {MAX_LINE} bytes")
            return -1, -1
        kind = buffer[position]
        return _length(buffer[position + 1 : end]) if kind == 36 or kind == 42 else 0, end + 2

    def integer(self) -> int | None:
        """Read one reply that should be an integer: its value, -1 for any other reply (errors are kept).

        None while it is incomplete; a longer one has to be read whole by further calls.
        """
        if self._raw or self._open or self._position >= len(self._buffer) or self._buffer[self._position] != 58:
            return -1 if self.skip(1) else None
        start = self._position + 1
        if not self.skip(1):
            return None
        text = self._buffer[start : self._buffer.index(b"\r\n", start)]
        return int(text) if text.isdigit() and len(text) <= 19 else -1

    def array_header(self) -> int | None:
        """Read the header of an array reply: its length, -1 for nil, -2 for an error (kept in `errors`).

        None while the line is incomplete. The items follow as replies of their own, to be skipped by `skip`.
        """
        end = self._buffer.find(b"\r\n", self._position)
        if end < 0:
            if len(self._buffer) - self._position > MAX_LINE:
                raise CorruptError(f"the target sent a reply line of more than {MAX_LINE} bytes")
            return None
        kind = self._buffer[self._position]
        # Before the text is cut out of an empty line: mypyc fails at a slice that ends before it begins.
        if kind != 42 and kind != 45:
            raise CorruptError(f"the target answered EXEC with a reply of kind {quoted(chr(kind))}, not an array")
        text = self._buffer[self._position + 1 : end]
        self._position = end + 2
        if kind == 42:
            return _length(text)
        self._keep_error(self._counted, text)
        return -2

    def _keep_error(self, position: int, text: bytes) -> None:
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((position, text[:MAX_ERROR_TEXT].decode("utf-8", "replace")))


def _length(text: bytes) -> int:
    """Return a RESP length: -1 (nil) or a number of at most 19 digits."""
    if text == b"-1":
        return -1
    if not text.isdigit() or len(text) > 19:
        raise CorruptError(f"the target sent an impossible length {quoted(text, 32)}")
    return int(text)
