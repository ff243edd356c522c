"""Models: where answers come from, behind one streaming port."""
