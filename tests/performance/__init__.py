"""Ratios to other ways of doing the same, measured side by side in one run; see README.md here."""
