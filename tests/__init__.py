"""Tests of shaker: one room beside each of its own, `e2e` with real servers, `bed` for the test bed itself."""
