"""Real batch systems on this machine: started by the tests, thrown away after them."""
