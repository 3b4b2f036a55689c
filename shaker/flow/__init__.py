"""Flows: what one source stream and one target share. Decides and waits; opens no connection."""
