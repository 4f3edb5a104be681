"""Benchmarks: each compares in one run, prints its table and writes the figures to build/bench/NAME.json."""
