"""The build: what it asks for, which modules it compiles, and that none stays plain unnoticed."""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.worker import ROOT

BUILDING = ROOT / "building"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that setup.py and the backend ask, where the compiled codec is wanted."""
    monkeypatch.setenv("SHAKER_BUILD_COMPILED", "1")
    monkeypatch.syspath_prepend(str(BUILDING))
    yield importlib.import_module("compiled")
    for name in ("backend", "compiled"):
        sys.modules.pop(name, None)


@pytest.fixture
def backend(compiled: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build backend, in the folder of a project as pip calls it."""
    monkeypatch.chdir(ROOT)
    return importlib.import_module("backend")


def wheel(path: Path, names: list[str]) -> Path:
    """Write a wheel with files of these names, empty."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_the_compiler_is_asked_for_where_it_is_wanted(
    compiled: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nowhere else."""
    assert compiled.requirements() == [compiled.MYPY]
    monkeypatch.setenv("SHAKER_BUILD_COMPILED", "0")
    assert compiled.requirements() == []


def test_the_compiler_is_of_the_pinned_series(compiled: ModuleType) -> None:
    """What pip installs into its own environment, and what requirements-build.lock has for `make wheel`."""
    [pinned] = re.findall(r"^mypy==(\d+\.\d+)\.", (ROOT / "requirements-build.lock").read_text(), re.MULTILINE)

    assert re.fullmatch(rf"mypy~={re.escape(pinned)}\.\d+", compiled.MYPY)


def test_pip_finds_the_backend() -> None:
    """In the project, and in a source distribution of it."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    [folder] = build["backend-path"]

    assert (ROOT / folder / f"{build['build-backend']}.py").is_file()
    assert f"include {folder}/*.py" in (ROOT / "MANIFEST.in").read_text()


def test_the_backend_has_every_hook_that_setuptools_has(backend: ModuleType) -> None:
    """Those of PEP 517 and PEP 660."""
    from setuptools import build_meta

    hooks = {name for name in build_meta.__all__ if name.startswith(("build_", "get_requires_", "prepare_"))}

    assert len(hooks) >= 8
    assert {name for name in hooks if not callable(getattr(backend, name, None))} == set()


def test_every_module_to_compile_is_there(compiled: ModuleType) -> None:
    """All of the codec and what is named singly."""
    found = compiled.modules(ROOT)

    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "shaker" / "codec").rglob("*.py")}
    assert {name for name in there if not name.endswith("/__init__.py")} == {
        name for name in found if name.startswith("shaker/codec/")
    }
    assert set(compiled.SINGLE) <= set(found)
    assert all((ROOT / name).is_file() for name in found)


@pytest.mark.parametrize("gone", ["shaker/codec/resp/command_stream.py", "shaker/rules/restore.py"])
def test_a_module_that_is_gone_fails_the_build(compiled: ModuleType, gone: str, tmp_path: Path) -> None:
    """A room without modules, or a single one without its file."""
    for name in {"shaker/codec/resp/command_stream.py", *compiled.SINGLE} - {gone}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    with pytest.raises(RuntimeError, match="compile"):
        compiled.modules(tmp_path)


@pytest.mark.parametrize("plain", ["shaker/codec/resp/command_stream.py", "shaker/rules/expiry.py", None])
def test_a_module_that_stayed_plain_fails_the_build(
    backend: ModuleType, compiled: ModuleType, plain: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no wheel is left behind."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    modules = compiled.modules(ROOT)
    names = [*modules, *(name.removesuffix(".py") + suffix for name in modules if name != plain)]
    monkeypatch.setattr(
        backend.build_meta, "build_wheel", lambda folder, *_: wheel(Path(folder, "made.whl"), names).name
    )

    if plain is None:
        assert backend.build_wheel(str(tmp_path)) == "made.whl"
    else:
        with pytest.raises(RuntimeError, match=re.escape(plain)):
            backend.build_wheel(str(tmp_path))
        assert list(tmp_path.iterdir()) == []


def test_only_a_wheel_is_compiled(
    backend: ModuleType, compiled: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable install is plain: extension modules would hide every edit. Afterwards the wish is as before."""
    seen = []
    monkeypatch.setattr(backend.build_meta, "build_editable", lambda *_: seen.append(compiled.wanted()) or "made")

    assert backend.build_editable("folder") == "made"

    assert seen == [False]
    assert compiled.wanted()
