"""Networks: the AG-CNN, its weights on disk, and the one place that runs them."""
