"""Comparing a source and a target."""
