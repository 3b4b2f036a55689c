"""What an operator says: the settings, where each comes from, and the secrets in them."""
