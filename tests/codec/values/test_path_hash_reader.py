"""Path hashes of Valkey 9.2: paths with fields, in any pieces, and as commands. No server at hand writes them."""

from __future__ import annotations

import pytest

from shaker.codec.resp.replies import encode
from shaker.codec.values import elements as of
from shaker.codec.values.commands import make, survey
from shaker.codec.values.content import Content, content
from shaker.codec.values.decoder import Kind, decode
from shaker.codec.values.elements import Element
from shaker.codec.values.target import Limits, target_of
from shaker.errors import CorruptError, UnsupportedError
from tests.codec.values.test_decoder import read
from tests.support.rdb_bytes import length, payload, string

PATHS = length(2) + string(b"/a") + length(2) + string(b"f") + string(b"1") + string(b"g") + string(b"2")
PATHS += string(b"/b/c") + length(1) + string(b"") + string(b"x" * 300)
PATH_ELEMENTS = [of.PathFields(b"/a", [b"f", b"1", b"g", b"2"]), of.PathFields(b"/b/c", [b"", b"x" * 300])]


def paths(found: list[Element]) -> list[of.PathFields]:
    """The elements, all of which are fields of paths."""
    return [each for each in found if isinstance(each, of.PathFields)]


def test_batches_are_of_one_path_and_of_bounded_size() -> None:
    assert read(23, PATHS, 81) == PATH_ELEMENTS
    assert read(23, length(0), 81) == []
    flat = [b"%d" % number for number in range(5000)]
    large = length(1) + string(b"/") + length(2500) + b"".join(map(string, flat))
    found = paths(list(decode([payload(23, large, 81)], version=81)))
    assert [text for each in found for text in each.flat] == flat
    assert max(len(each.flat) for each in found) <= 1536
    assert {each.path for each in found} == {b"/"}


def test_a_cut_payload_is_corrupt() -> None:
    whole = payload(23, PATHS, 81)
    for size in range(1, len(whole)):
        with pytest.raises(CorruptError):
            list(decode([whole[:size]], version=81))


def test_commands_make_it_again_where_the_target_has_them() -> None:
    """In commands of bounded size; by name where it has none."""
    whole, able = payload(23, PATHS, 81), target_of((9, 2), valkey=True)
    made = list(make([whole], b"k", survey([whole], able, version=81), able, version=81, limits=Limits(elements=1)))
    assert made == [
        encode("PHSET", "k", "/a", "FIELDS", 1, "f", "1"),
        encode("PHSET", "k", "/a", "FIELDS", 1, "g", "2"),
        encode("PHSET", "k", "/b/c", "FIELDS", 1, "", b"x" * 300),
    ]
    with pytest.raises(UnsupportedError, match=r"path hashes \(PHSET\)"):
        survey([whole], target_of((9, 1), valkey=True), version=81)


def test_the_content_of_path_hashes_has_no_order() -> None:
    """But a field belongs to its path."""

    def of_paths(*paths: tuple[bytes, bytes]) -> Content:
        body = b"".join(string(path) + length(1) + string(field) + string(b"v") for path, field in paths)
        return content([payload(23, length(len(paths)) + body, 81)], version=81)

    one = of_paths((b"/a", b"bc"), (b"/d", b"e"))
    assert one.same(of_paths((b"/d", b"e"), (b"/a", b"bc")))
    assert not one.same(of_paths((b"/ab", b"c"), (b"/d", b"e")))
    assert (one.kind, one.elements) == (Kind.PATH_HASH, 2)
