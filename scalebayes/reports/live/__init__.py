"""The what-if panel of a report's page."""
