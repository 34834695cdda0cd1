"""Batch systems: pure builders and parsers, one runner for commands. Imports nothing of ours."""
