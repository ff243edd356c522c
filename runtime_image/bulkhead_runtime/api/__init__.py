"""API: what clients and the operator see; the only folder that knows HTTP."""
