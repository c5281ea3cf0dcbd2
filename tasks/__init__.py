"""How a step is run: one Prefect task per verb, with its retries, artifacts and one call into the layer below."""

import ingot  # noqa: F401  (air-gap switches before any other import)
