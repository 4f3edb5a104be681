"""How well the defaults rank frauds beside streaming peers: `make bench-quality`."""
