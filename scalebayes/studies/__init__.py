"""Worked studies on published points."""
