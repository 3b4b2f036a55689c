"""The worker: wires readers, writers and jobs together and supervises them."""
