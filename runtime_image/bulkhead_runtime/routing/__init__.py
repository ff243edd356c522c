"""Routing: which version of a package a session gets and keeps."""
