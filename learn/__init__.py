"""Training of networks: the loop, the order of samples, schedules, checkpoints, weights of others."""
