"""From an input to a finished run: cameras, evidence, training, evaluation."""
