"""The settings, the origin of each, and the secrets in them."""
