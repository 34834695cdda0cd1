"""Every state that the rules of ownership can reach, within small sizes, against the invariants.

`shard` explores one shard: acks, votes, opens and what is settled. `moves` explores a dataset that
moves between two shards, each taken as what the first model shows it to be. No clock and no
randomness, but for the random walks of `search`.
"""
