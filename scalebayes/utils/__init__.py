"""Files, the cache folder, work in parallel, and progress."""
