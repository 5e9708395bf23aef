"""The kernel: the log density PyMC wrote, as a small C library that is built once and kept (`engine.kernel`)."""
