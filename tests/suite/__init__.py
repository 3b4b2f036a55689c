"""Redis's own test suite against a source that the worker replicates. Its files are no part of this project."""
