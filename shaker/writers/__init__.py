"""Where data goes: each writer takes batches from a flow."""
