"""Which build runs."""

import importlib

from shaker.build import codec_kind


def test_the_kind_is_that_of_the_module_that_is_loaded() -> None:
    origin = importlib.import_module("shaker.codec.stream").__file__

    assert origin is not None
    assert codec_kind() == ("plain" if origin.endswith(".py") else "compiled")
