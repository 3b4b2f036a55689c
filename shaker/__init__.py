"""shaker: replicates a Redis or Valkey (the source) to another one (the target), each command exactly once."""

__version__ = "0.1.0"
