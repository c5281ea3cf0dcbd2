"""Where it runs: the local stack and the deployments registered with it."""

import ingot  # noqa: F401  (air-gap switches before any other import)
