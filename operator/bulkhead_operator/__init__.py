"""The operator: turns OrganizationRuntime, AgentPackage and MemoryPool into isolated runtimes.

handlers -> reconcile -> resources | policies | status | cluster. Handlers only ring a bell; a
reconcile parses, gathers, builds, applies and reports; builders are pure; only `cluster` speaks to
the API server, only `handlers` and `startup` know kopf.
"""
