"""Beacons: ours out of the tables and the pilots, and the newest of each other site."""
