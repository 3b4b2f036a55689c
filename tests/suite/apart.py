"""Tests of the suite that are left out, each with its reason: by unit, then by name or /pattern/ of the suite."""

APART: dict[str, dict[str, str]] = {}
