"""Readers: each takes data from one kind of source and puts items into a flow. They know no writer and no job."""
