"""Batch systems: pure builders and parsers, and one runner for commands. Imports nothing of ours."""
