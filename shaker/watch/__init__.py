"""The operator's view: status, lag, health, metrics, logs.

Everything here reads `Status`, never a stage; a stage counts into `Status` and knows none of its readers.
"""
