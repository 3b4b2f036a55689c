"""RDB snapshots: bytes to entries, incrementally and in bounded memory."""
