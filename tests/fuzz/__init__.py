"""Fuzz targets: `python -m tests.fuzz snapshot` for as long as you like; the same properties run in the tests."""
