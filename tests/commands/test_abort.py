"""`shaker abort` without a worker: nothing to undo, or a note in the checkpoint."""

from __future__ import annotations

import pytest

from shaker.apply.records import checkpoint_key
from shaker.commands.abort import left_behind, main
from shaker.model.cutover import CutoverNote
from shaker.settings.schema import Settings
from tests.support.servers import Server, free_port


def test_without_a_note_there_is_nothing_to_undo(
    source: Server, target: Server, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither server is written to."""
    token = tmp_path_factory.mktemp("abort") / "token"
    token.write_text("token")
    nobody = f"http://127.0.0.1:{free_port()}"
    flags = ["--source.url", source.url, "--target.url", target.url, "--url", nobody]
    assert main([*flags, "--control.token-file", str(token)]) == 0
    assert "nothing to undo" in capsys.readouterr().out
    assert target.client().dbsize() == 0


def test_the_note_is_that_of_the_checkpoint(source: Server, target: Server) -> None:
    """Of the replication's own name."""
    settings = Settings(source={"url": source.url}, target={"url": target.url})  # type: ignore[arg-type]
    assert left_behind(settings) is None
    note = CutoverNote(True, {"min-replicas-to-write": "0"}, 5, 1)
    target.client().hset(checkpoint_key("default"), mapping={"phase": "stream", "cutover": str(note)})
    assert left_behind(settings) == note
