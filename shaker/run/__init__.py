"""The worker: wires readers, writers and jobs to flows and supervises them."""
