"""The one place that reads detector.toml and the environment, and builds frozen specs from them.

Law: a configuration is either wholly valid, or refused with every fault and its place, before anything is touched.
"""

from detector.settings.faults import ConfigError
from detector.settings.loading import load
from detector.settings.sections import Settings

__all__ = ["ConfigError", "Settings", "load"]
