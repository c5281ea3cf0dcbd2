"""The doors: the command line. Parse, call, print."""

import ingot  # noqa: F401  (air-gap switches before any other import)
