"""Many fits, in this process or on a Dask cluster."""
