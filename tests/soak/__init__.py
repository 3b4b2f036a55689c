"""The long run: load, random faults on everything, equality at the end: `python -m tests.soak --minutes 30`."""
