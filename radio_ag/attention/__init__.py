"""Where the attention lies: numbers, means over sources, and figures."""
