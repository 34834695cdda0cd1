"""The node as a voter of shards, and as a candidate to lead them."""
