"""The packaging command: makes a version of a package from an author's files, without a cluster."""
