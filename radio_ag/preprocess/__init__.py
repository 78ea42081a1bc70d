"""Fields to the network's input: noise, clip, crop and scale, and the islands of emission."""
