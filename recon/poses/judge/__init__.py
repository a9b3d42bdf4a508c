"""Judgement of cameras from structure from motion: trust in each, and what misled them."""
