"""`detector lab evaluate`: models side by side on one file, under one protocol."""
