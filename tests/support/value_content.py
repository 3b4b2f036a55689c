"""What a value holds as plain JSON, from elements and from a server's own read commands: equal where they agree.

Bytes are text in Latin-1. Sets, hashes and sorted sets are sorted. None stands for what a version does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis

from shaker.codec.values import elements as of

Content = dict[str, Any]
NOBODY = ""


def text(data: bytes | str) -> str:
    """Return bytes as JSON can hold them."""
    return data.decode("latin-1") if isinstance(data, bytes) else data


def stream_id(pair: of.StreamId) -> str:
    """Return an id as commands spell it."""
    return f"{pair[0]}-{pair[1]}"


def known(number: int) -> int | None:
    """Return a number of an element, None for one that the type does not tell."""
    return None if number == of.UNKNOWN else number


def pending(entries: Iterable[of.PendingEntry]) -> list[list[Any]]:
    """Return pending entries."""
    return [[stream_id(entry.id), entry.delivered, entry.deliveries] for entry in entries]


def from_elements(elements: Iterable[of.Element]) -> Content:
    """Return the content that elements describe."""
    content: Content = {}
    for element in elements:
        match element:
            case of.StringStart(size):
                content = {"type": "string", "value": "", "size": size}
            case of.StringPart(data):
                content["value"] += text(data)
            case of.Items(values):
                content.setdefault("list", []).extend(map(text, values))
            case of.Members(values):
                content.setdefault("set", []).extend(map(text, values))
            case of.Scores(pairs):
                content.setdefault("zset", []).extend([text(member), repr(score)] for member, score in pairs)
            case of.Fields(flat):
                for field, value in zip(flat[::2], flat[1::2], strict=True):
                    content.setdefault("hash", []).append([text(field), text(value), -1])
            case of.ExpiringFields(fields):
                for field, value, at in fields:
                    content.setdefault("hash", []).append([text(field), text(value), at])
            case of.PathFields(path, flat):
                for field, value in zip(flat[::2], flat[1::2], strict=True):
                    content.setdefault("paths", []).append([text(path), text(field), text(value)])
            case of.ModuleStart(name, version):
                content = {"type": "module", "name": text(name), "version": version, "parts": []}
            case of.ModuleParts(parts):
                content["parts"] += [[opcode, text(part)] for opcode, part in parts]
            case of.Libraries(codes):
                content.setdefault("functions", []).extend(map(text, codes))
            case _:
                _add_to_stream(content, element)
    return finished(content)


def _add_to_stream(content: Content, element: of.Element) -> None:
    content.setdefault("type", "stream")
    match element:
        case of.StreamEntries(entries):
            content.setdefault("entries", []).extend([stream_id(e.id), [text(t) for t in e.flat]] for e in entries)
        case of.StreamInfo(length, last, deleted, added):
            content |= {"length": length, "last": stream_id(last), "groups": []}
            content |= {"max_deleted": None if added == of.UNKNOWN else stream_id(deleted), "added": known(added)}
            content.setdefault("entries", [])
        case of.Group(name, last, read):
            content["groups"].append(
                {"name": text(name), "last": stream_id(last), "read": known(read), "consumers": []}
            )
        case of.Consumer(name, seen, active):
            content["groups"][-1]["consumers"].append(
                {"name": text(name), "seen": seen, "active": known(active), "pending": []}
            )
        case of.Pending(entries):
            content["groups"][-1]["consumers"][-1]["pending"] += pending(entries)
        case of.Released(entries):
            content["groups"][-1].setdefault("released", []).extend(pending(entries))
        case of.Producer(name, messages):
            content.setdefault("producers", []).append(
                [text(name), [[text(message), stream_id(entry)] for message, entry in messages]]
            )
        case of.Idempotence():
            content["idempotence"] = list(element)
        case _:
            raise AssertionError(f"an element of another kind: {element}")


def finished(content: Content) -> Content:
    """Return the content in its one order."""
    for kind in ("list", "set", "zset", "hash", "functions"):
        if kind in content:
            content = {"type": kind, "value": content[kind] if kind == "list" else sorted(content[kind])}
    if content.get("type") == "string":
        assert content.pop("size") == len(content["value"])
    return content


def pairs(flat: Any) -> dict[str, Any]:
    """Return the dictionary that a reply of names and values is, by either protocol."""
    if isinstance(flat, dict):
        return {text(name): value for name, value in flat.items()}
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def from_server(client: redis.Redis, key: str) -> Content:
    """Return the content of a key as the server's own commands tell it."""
    ask = client.execute_command
    kind = text(ask("TYPE", key))
    if kind == "string":
        return {"type": kind, "value": text(ask("GET", key))}
    if kind == "list":
        return {"type": kind, "value": [text(item) for item in ask("LRANGE", key, 0, -1)]}
    if kind == "set":
        return {"type": kind, "value": sorted(text(item) for item in ask("SMEMBERS", key))}
    if kind == "zset":
        found = client.zrange(key, 0, -1, withscores=True, score_cast_func=lambda score: score)
        return {"type": kind, "value": sorted([text(member), repr(float(score) + 0.0)] for member, score in found)}
    if kind == "hash":
        return {"type": kind, "value": sorted(_fields(client, key))}
    assert kind == "stream", kind
    return _stream(client, key)


def _fields(client: redis.Redis, key: str) -> list[list[Any]]:
    found: dict[bytes, bytes] = client.hgetall(key)
    try:
        expiries = client.execute_command("HPEXPIRETIME", key, "FIELDS", len(found), *found)
    except redis.ResponseError:
        expiries = [-1] * len(found)
    return [[text(f), text(v), at] for (f, v), at in zip(found.items(), expiries, strict=True)]


def _stream(client: redis.Redis, key: str) -> Content:
    ask = client.execute_command
    info = pairs(ask("XINFO", "STREAM", key))
    entries = client.xrange(key)
    raw = redis.Redis(connection_pool=client.connection_pool)
    raw.response_callbacks.clear()
    entries = raw.execute_command("XRANGE", key, "-", "+")
    content: Content = {
        "type": "stream",
        "entries": [[text(entry), [text(t) for t in flat]] for entry, flat in entries],
        "length": info["length"],
        "last": text(info["last-generated-id"]),
        "max_deleted": text(info["max-deleted-entry-id"]) if "max-deleted-entry-id" in info else None,
        "added": info.get("entries-added"),
        "groups": [],
    }
    try:
        full = pairs(raw.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0))
    except redis.ResponseError:  # before 6.0
        content["groups"] = _old_groups(raw, key)
        return content
    for group in map(pairs, full["groups"]):
        consumers = []
        for consumer in map(pairs, group["consumers"]):
            held = [[text(entry), at, times] for entry, at, times in consumer["pending"]]
            consumers.append(
                {
                    "name": text(consumer["name"]),
                    "seen": consumer["seen-time"],
                    "active": consumer.get("active-time"),
                    "pending": held,
                }
            )
        has_read = "entries-read" in group
        read = group.get("entries-read")
        content["groups"].append(
            {
                "name": text(group["name"]),
                "last": text(group["last-delivered-id"]),
                "read": (-1 if read is None else read) if has_read else None,
                "consumers": consumers,
            }
        )
    return content


def _old_groups(raw: redis.Redis, key: str) -> list[Any]:
    groups = []
    for group in map(pairs, raw.execute_command("XINFO", "GROUPS", key)):
        name = group["name"]
        consumers = []
        for consumer in map(pairs, raw.execute_command("XINFO", "CONSUMERS", key, name)):
            reply = raw.execute_command("XPENDING", key, name, "-", "+", 10**9, consumer["name"])
            held = [[text(entry), None, times] for entry, _, _, times in reply]
            consumers.append({"name": text(consumer["name"]), "seen": None, "active": None, "pending": held})
        last = text(group["last-delivered-id"])
        groups.append({"name": text(name), "last": last, "read": None, "consumers": consumers})
    return groups


def agree(one: Any, other: Any, ignore: tuple[str, ...] = ()) -> bool:
    """Return whether two contents are equal where both tell; keys of `ignore` do not count."""
    if one is None or other is None:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(agree(one.get(key), other.get(key), ignore) for key in (one.keys() | other.keys()) - set(ignore))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(agree(a, b, ignore) for a, b in zip(one, other, strict=True))
    return bool(one == other)
