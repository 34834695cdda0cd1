"""Real HTCondor."""
