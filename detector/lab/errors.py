"""How a replay ends early: each error carries the exit code of the command."""

from __future__ import annotations


class LabError(Exception):
    """Something that the person at the command line can mend; the message says how."""

    exit_code = 70


class WrongUsage(LabError):
    """What was asked for cannot be."""

    exit_code = 2


class InputStopped(LabError):
    """The file cannot be read, or most of its rows are not transactions."""

    exit_code = 65


class NotConfigured(LabError):
    """The settings do not fit a file, or a package is missing."""

    exit_code = 78
