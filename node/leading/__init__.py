"""What the leader of shards decides: who owns what, what is left, who gets it. Pure."""
