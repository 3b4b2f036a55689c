"""Tasks that work on a flow beside its stream: monitors, barriers, expiries, stale keys."""
