"""Tasks: the classes that are looked for, and the data sets that have them."""
