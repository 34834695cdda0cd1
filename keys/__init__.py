"""Keys, signatures and certificates: who signed what."""
