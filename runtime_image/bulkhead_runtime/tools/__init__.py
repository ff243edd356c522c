"""Tools: what agents may call, behind one registry."""
