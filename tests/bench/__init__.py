"""Measures of the worker beside Redis's own replication, in the same run on the same machine: `make bench`."""
