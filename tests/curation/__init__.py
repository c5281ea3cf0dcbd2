"""The data path as a whole: one version whatever the road, crashes, nights, workers, books that balance."""
