"""Near-duplicates: signatures, bands, verified edges, clusters. Exact copies share a doc_id already."""
