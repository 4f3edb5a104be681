"""Producers: simulated payments with labelled fraud, and files replayed as streams. They import `schemas` only."""
