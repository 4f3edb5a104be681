"""Files that the settings name: a missing one is a fault before anything is touched, not at the first connect."""

from __future__ import annotations

from pathlib import Path

from detector.settings.sections import Settings

# librdkafka properties that hold a path, from its CONFIGURATION.md. `ssl.ca.location` may also be the word `probe`.
FILE_PROPERTIES = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.crl.location",
    "ssl.keystore.location",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
)


def missing(settings: Settings) -> list[str]:
    """One fault for each named file that is not there."""
    faults = []
    for name in FILE_PROPERTIES:
        value = settings.kafka.client.get(name)
        if isinstance(value, str) and value != "probe" and not Path(value).exists():
            faults.append(f"kafka.client.{name}: expected a file that is there, found none at {value}")
    return faults
