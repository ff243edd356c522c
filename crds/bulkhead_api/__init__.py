"""The API of Bulkhead: what users write and what operator and runtime say to each other.

The pydantic models here are the one source. `make generate` turns the three kinds into
CustomResourceDefinitions; `runtime_config` and `runtime_state` are the contract between operator
and runtime. Nothing here talks to a cluster, a file or the network.
"""
