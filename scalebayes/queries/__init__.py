"""Questions put to a fit: each answer is an `xarray.Dataset` of draws."""
