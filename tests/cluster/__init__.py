"""Real schedulers and workers, and what is done to them."""
