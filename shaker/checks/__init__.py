"""Checks of servers and settings before anything is written."""
