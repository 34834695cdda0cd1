"""Real Grid Engine."""
