"""Torque's commands in front of a real Slurm."""
