"""The health server: probes, metrics, status and the page."""
