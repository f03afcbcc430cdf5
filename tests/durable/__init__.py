"""A dataset that survives anything: crashes at every step, power cuts, faults of the disk; and the tools to make them."""
