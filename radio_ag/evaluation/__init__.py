"""How good a network is, and how sure of it one can be."""
