"""One source stream into one target: position, window, wake-ups."""
