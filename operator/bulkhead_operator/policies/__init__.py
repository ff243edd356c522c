"""Decisions as ordered rules: a function of what was gathered, a violation or none."""
