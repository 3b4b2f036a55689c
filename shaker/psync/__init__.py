"""Who the worker is to the source, without I/O: handshake, PSYNC, snapshot, stream, driven by bytes."""
