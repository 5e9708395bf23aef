"""The kernel: PyMC's log density and its gradient as a small C library, kept on disk."""
