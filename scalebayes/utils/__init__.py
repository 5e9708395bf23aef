"""Files, the cache folder, parallel work and progress."""
