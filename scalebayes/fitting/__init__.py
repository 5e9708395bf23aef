"""From runs and a spec to posterior draws."""
