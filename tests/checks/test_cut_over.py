"""A worker after a cutover: refused while its note says that it is done, and led to the direction that counts."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.checks.cut_over import OtherDirection, check_direction, present_direction, refuse_after_cutover
from shaker.errors import RefusedError
from shaker.model.cutover import CutoverNote, Turn
from shaker.model.position import Phase
from shaker.settings.schema import Settings
from tests.support.servers import Server
from tests.support.settings import settings


def test_a_cutover_that_is_done_is_refused() -> None:
    """With the offset, and the way back."""
    with pytest.raises(RefusedError, match=r"cut over at offset 7.*`shaker abort`"):
        refuse_after_cutover(Checkpoint(cutover=str(CutoverNote(True, {}, 7, 1))))


def test_users_without_rights_are_named() -> None:
    """The worker was killed before it could give them back."""
    checkpoint = Checkpoint(cutover=str(CutoverNote(True, {}, 7, 1)), turned=str(Turn(1, {"acl:app": "+@all"})))
    with pytest.raises(RefusedError, match="rights of the users of the target: acl:app"):
        refuse_after_cutover(checkpoint)


@pytest.mark.parametrize("text", ["", "damaged", str(CutoverNote(False, {"min-replicas-to-write": "0"}))])
def test_any_other_checkpoint_is_taken(text: str) -> None:
    """The job undoes a cutover that is not done."""
    refuse_after_cutover(Checkpoint(cutover=text))


DONE = str(CutoverNote(True, {}, 7, 1, True))
HALF = str(CutoverNote(False, {}, 7))
ENDED = str(CutoverNote(True, {}, 7, 1))


def made(turn: int, note: str = "") -> Checkpoint:
    """A checkpoint of the stream."""
    return Checkpoint(phase=Phase.STREAM, replid="a" * 40, offset=1, turned=str(Turn(turn)), cutover=note)


def pair(source: Server, target: Server) -> Settings:
    """The settings of a worker."""
    return settings(source__url=source.url, target__url=target.url)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("on_target", "on_source", "reversed_"),
    [
        (None, None, False),
        (made(0), None, False),
        (made(0, HALF), made(1), False),  # killed before the note
        (made(0, ENDED), None, False),  # the end, without a turn
        (made(0, DONE), made(1), True),
        (made(0, DONE), made(1, HALF), True),
        (made(2), made(1, DONE), False),  # turned twice
        (made(2), made(1), True),  # killed before the second turn's note
        (made(2), made(1, HALF), True),
        (made(2, DONE), made(3), True),
        (made(2), made(3), False),
        (made(2), None, False),
        (made(0), made(1), False),
    ],
)
async def test_exactly_one_checkpoint_counts(
    source: Server, target: Server, on_target: Checkpoint | None, on_source: Checkpoint | None, reversed_: bool
) -> None:
    """Whichever of the two servers the settings call the source."""
    for server, checkpoint in ((target, on_target), (source, on_source)):
        if checkpoint is not None:
            pairs = [str(each) for each in checkpoint.pairs()]
            server.client().hset(checkpoint_key("default"), items=pairs)
    direction, checkpoint = await present_direction(pair(source, target))
    assert (direction.source.url.get_secret_value() == target.url) is reversed_
    assert checkpoint == (on_source if reversed_ else on_target)
    if reversed_:
        direction, checkpoint = await present_direction(pair(target, source))
        assert direction.source.url.get_secret_value() == target.url
        assert checkpoint == on_source


@pytest.mark.anyio
async def test_a_turn_without_its_checkpoint_is_refused(source: Server, target: Server) -> None:
    """The old source was flushed."""
    with pytest.raises(RefusedError, match="has no checkpoint of that"):
        await check_direction(pair(source, target), made(0, DONE))


def test_rules_to_give_back_are_passed_on() -> None:
    """To the direction whose source is that server."""
    with pytest.raises(OtherDirection) as other:
        refuse_after_cutover(Checkpoint(cutover=DONE, turned=str(Turn(1, {"acl:app": "+@all"}))))
    assert other.value.shut == {"acl:app": "+@all"}
