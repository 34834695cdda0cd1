"""Real Slurm."""
