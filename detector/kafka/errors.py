"""What can go wrong in the Kafka shell, named for the remedy.

::

    Stop                    the process ends; `exit_code` says how, the message what to do
    ├── ConfigurationRefused   78, change a setting
    ├── HistoryLost            65, the log no longer holds what the state needs
    ├── TooManyRejects         65, most of the input cannot be read
    └── BrokerAway             69, no broker, where waiting is off
    Rewind                  the open transaction is gone: touched tasks restore, then the loop goes on
    OutOfPatience           a call was given up: asked to stop, or out of time
"""

from __future__ import annotations

from typing import ClassVar, Literal


class Stop(Exception):
    """The process cannot go on; shown to the operator as it is."""

    exit_code: ClassVar[int] = 70


class ConfigurationRefused(Stop):
    """Running with these settings would break a promise."""

    exit_code = 78


class HistoryLost(Stop):
    """Records that the state is made of are no longer in the log."""

    exit_code = 65


class TooManyRejects(Stop):
    """Most of the newest records cannot be read: a wrong mapping, or a producer that changed its format."""

    exit_code = 65


class BrokerAway(Stop):
    """No broker answers, and the caller did not want to wait."""

    exit_code = 69


class Rewind(Exception):
    """Nothing of the open transaction will ever be seen. Every task that took part in it must restore.

    `cause` is `aborted` (same producer, new transaction) or `fatal` (the producer was thrown away: open a new one).
    """

    def __init__(self, cause: Literal["aborted", "fatal"], why: str) -> None:
        super().__init__(why)
        self.cause: Literal["aborted", "fatal"] = cause


class OutOfPatience(Exception):
    """A call that might have succeeded later was given up."""
