"""Training: recipes, the loop, and the weights that come of it."""
