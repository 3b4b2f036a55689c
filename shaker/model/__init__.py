"""Nouns that every room speaks in: no behaviour beyond their own parts, and no I/O."""
