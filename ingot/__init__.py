"""Ingot's base: configuration, contracts on disk, lineage. Imports nothing of ours and nothing heavy.

Importing this package sets the switches that keep every library below it from phoning home
(`ingot.airgap`); each root package imports `ingot` first, so the switches stand before any import.
"""

from ingot.airgap import set_switches

set_switches()

__version__ = "0.1.0"
