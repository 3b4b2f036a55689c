"""Pure changes between source and target: which command touches which keys, what may not be forwarded."""
