"""What "good" means: graders, suites, statistics and the gate."""

import ingot  # noqa: F401  (air-gap switches before any other import)
