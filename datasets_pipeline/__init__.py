"""Documents in, documents out. Pure: no Prefect, no MLflow; the time is an argument."""

import ingot  # noqa: F401  (air-gap switches before any other import)
