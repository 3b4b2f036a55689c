"""Values of keys: DUMP payloads to elements, elements to canonical content and to commands. Incremental and pure."""
