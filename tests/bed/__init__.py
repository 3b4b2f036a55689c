"""Tests of the test bed: a bed that cannot fail proves nothing."""
