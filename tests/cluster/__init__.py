"""The Kubernetes on which a newcomer tries Bulkhead and on which the tests run.

`python -m tests.cluster up` brings a cluster up and installs Bulkhead on it. Where a container
engine answers that is kind; elsewhere it is a real one-node cluster whose parts are compiled from
the Go module proxy, so that neither Docker nor an image registry is needed. Integration tests
and benchmarks use `control_plane.ControlPlane`, an API server of their own in a temporary folder.
"""
