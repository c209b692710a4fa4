"""`informativeness` and `fuse`: images and texts as Gaussians."""
