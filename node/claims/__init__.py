"""The owner's side: when to claim units of which leader, and which to give back."""
