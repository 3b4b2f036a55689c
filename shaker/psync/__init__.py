"""The worker as a replica of the source, without I/O: handshake, PSYNC, snapshot, stream, driven by bytes."""
