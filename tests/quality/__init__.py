"""What the detector reaches on known data, and the floors below which no change may push it."""
