"""What the leader of shards does in a mesh: who owns what, what is left, who gets it."""
