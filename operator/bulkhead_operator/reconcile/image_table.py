"""The images of versions while packages are decided about: which run, and which leave room."""

from collections.abc import Iterable

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.resources import dedicated
from bulkhead_operator.resources.blueprint import ImageBlueprint


class ImageTable:
    """Images by the checksum of their version."""

    def __init__(self) -> None:
        self._images: dict[str, PackageImage] = {}
        self._running: list[ImageBlueprint] = []

    @property
    def running(self) -> tuple[ImageBlueprint, ...]:
        """Return what is to run."""
        return tuple(self._running)

    def note(self, document: PackageDocument) -> None:
        """Note that a version takes room, because it runs or is about to."""
        if document.image is not None:
            self._images[document.checksum] = document.image

    def beside(self, document: PackageDocument) -> list[PackageImage]:
        """Return the images of all others."""
        return [image for key, image in self._images.items() if key != document.checksum]

    def run(self, candidate: Candidate, documents: Iterable[PackageDocument]) -> None:
        """Let versions of a package run."""
        for one in documents:
            if one.image is not None:
                self.note(one)
                uid = candidate.package.metadata.uid
                image = ImageBlueprint(one.package, uid, one.version, one.checksum, one.image)
                self._running.append(image)


def endpoint(document: PackageDocument) -> str:
    """Return where a version's image answers; empty for a version without one."""
    if document.image is None:
        return ""
    return dedicated.endpoint(document.package, document.checksum)
