"""Pilots in batch systems: how many, of which shape, where; and keeping account of each of them."""
