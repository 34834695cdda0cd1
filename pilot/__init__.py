"""The worker's program: pulls units, runs them, reports. Standard library only, Python 3.6."""
