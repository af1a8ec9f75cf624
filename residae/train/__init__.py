"""Training: `python -m residae train`, or `accelerate launch -m residae.train` for many GPUs."""
