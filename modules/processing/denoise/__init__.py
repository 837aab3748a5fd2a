"""What shapes an image while it is sampled: prompts over the steps, guidance, the refiner; each wraps a denoiser."""
