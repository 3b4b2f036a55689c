"""A transaction as one script: on a target whose memory is full, what frees memory and the checkpoint still go through.

There the target refuses HSET, and up to Redis 7.0 any command inside MULTI. In a script it takes both behind a first
write that it does not refuse (server files src/eval.c, src/script.c: write_dirty). A script is atomic, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import commands
from shaker.model.items import Item, ReviewItem, StreamItem, SweepStep
from shaker.model.position import Phase
from shaker.rules.command_table import CommandTable

# Carries out requests, each given as the number of its words and the words. Answers with the last one's reply, or
# with an error that has the numbers of those that failed, from 0, and the codes of their errors: the first ten.
SCRIPT: Final = """redis.call('PERSIST', KEYS[1])
local failed, last, number, at = {}, 0, 0, 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  last = redis.pcall(unpack(ARGV, at + 1, at + words))
  if type(last) == 'table' and last.err then
    failed[#failed + 1] = number .. ':' .. string.match(last.err, '^-?(%S+)')
  end
  number = number + 1
  at = at + words + 1
end
if #failed > 0 then
  return redis.error_reply('SHAKER ' .. #failed .. ' ' .. table.concat(failed, ' ', 1, math.min(#failed, 10)))
end
return last"""
FAILED: Final = "SHAKER "
# Words that one request may have: Lua's unpack takes some 8,000 (LUAI_MAXCSTACK).
MAX_WORDS: Final = 7000
MAX_BYTES: Final = 512 * 1024


def script(requests: bytes, key: str) -> bytes:
    """Return the request that carries out whole requests; `key` is any key that the worker may write."""
    words: list[bytes | str | int] = []
    for arguments in commands(requests):
        words += (len(arguments), *arguments)
    return encode("EVAL", SCRIPT, 1, key, *words)


def failures(text: str) -> list[tuple[int, str]]:
    """Return the numbers and errors of the requests that failed, by the error of a script."""
    found = []
    for each in text.split(" ")[2:]:
        number, _, code = each.partition(":")
        if number.isdigit():
            found.append((int(number), code))
    return found


def freeing(waiting: Iterable[Item], table: CommandTable) -> list[StreamItem]:
    """Return the first of the items that wait, as far as a full target takes all of them, and few enough at once."""
    items: list[StreamItem] = []
    size = 0
    for item in waiting:
        if size > MAX_BYTES or not isinstance(item, StreamItem) or not _frees(item, table):
            break
        size += item.size
        items.append(item)
        if item.batch.records is not None:
            break
    return items


def _frees(item: StreamItem, table: CommandTable) -> bool:
    batch = item.batch
    if batch.more or item.released or batch.size > MAX_BYTES:
        return False
    if isinstance(item, ReviewItem):
        return True  # its own lists of keys are small
    return all(part.label is None and not part.prefix and _takes(part.data, table) for part in batch.parts)


def removes(step: SweepStep) -> bool:
    """Return whether a step of a sweep removes keys."""
    return step.phase == Phase.STREAM


def _takes(data: bytes, table: CommandTable) -> bool:
    return all(len(words) <= MAX_WORDS and table.frees(words[0]) for words in commands(data))
