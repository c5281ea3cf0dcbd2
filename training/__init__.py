"""Checkpoint and tokens in, checkpoint out. No Prefect; no idea where the data came from."""

import ingot  # noqa: F401  (air-gap switches before any other import)
