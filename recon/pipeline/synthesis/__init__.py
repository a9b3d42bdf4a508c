"""The parts of analysis by synthesis: better cameras for photographs of one object, by making the object from them."""
