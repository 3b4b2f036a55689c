"""What an operator sees: status, lag, health, metrics, logs.

Everything here reads `Status`, never a stage; a stage counts into `Status` and knows nothing of who reads it.
"""
