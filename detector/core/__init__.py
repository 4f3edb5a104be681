"""The pure core: a fold over columns that knows no bytes, topics, clocks or settings."""
