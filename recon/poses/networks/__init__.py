"""Networks that estimate the cameras of a few photographs of one object, a folder for each paper."""
