"""The exactly-once target, without I/O where it can be: transactions with the checkpoint inside, the fence."""
