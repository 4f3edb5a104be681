"""`python -m producers` is the command `producers`."""

from producers.cli import main

main()
