"""The sections of a report, one builder each."""
