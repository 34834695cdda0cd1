"""Pilots at work: sessions, leases, reports, and how all of it comes back after a restart."""

from node.work.service import Work

__all__ = ["Work"]
