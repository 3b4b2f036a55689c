"""The named checks of `shaker preflight`: pure functions from facts about both servers to findings."""
