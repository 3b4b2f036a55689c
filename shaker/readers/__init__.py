"""Where data comes from: each reader puts batches into a flow."""
