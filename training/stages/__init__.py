"""Training stages: one file each with its `Config` on top and `run(config, start, data, output)` below."""

import ingot  # noqa: F401  (air-gap switches before any other import)
