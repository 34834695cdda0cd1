"""Every figure that Icefloe promises, measured against a peer or a physical limit in one run."""
