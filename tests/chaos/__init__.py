"""Storms of faults on a real broker, replayable from a seed."""
