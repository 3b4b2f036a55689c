"""Bytes to meaning and back: RESP, RDB, the stream. No await, no clock, no socket, no log, no settings."""
