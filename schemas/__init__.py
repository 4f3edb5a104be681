"""The contract: what every topic holds. Imports nothing of the detector or of the producers."""
