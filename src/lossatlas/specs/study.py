"""What a subject may ask of the study whose entries it resolves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from lossatlas.errors import LossatlasError
from lossatlas.numerics import Numerics
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Spec

S = TypeVar("S", bound=Spec)
T = TypeVar("T")


class Study(Protocol):
    """A study while it is planned."""

    @property
    def seed(self) -> int:
        """Return the master seed."""

    @property
    def numerics(self) -> Numerics:
        """Return the numerics under which it is computed."""

    @property
    def variants(self) -> Mapping[str, str]:
        """Return data set -> variant that replaces a preset's choice."""

    def entry(self, section: str, name: str, want: type[S], where: str) -> S:
        """Return an entry.

        Args:
            section: of the study.
            name: of the entry.
            want: the spec it must be, or a common base of several.
            where: place of the name in the study, for messages.

        Raises:
            LossatlasError: there is none of this name, or it is of another kind.
        """

    def made(self, section: str, name: str, want: type[Spec], where: str) -> tuple[Artefact, ...]:
        """Return the artefacts of an entry, planned once; raises as :meth:`entry` does."""

    def get(self, what: str, name: Any, where: str) -> tuple[Artefact, ...]:
        """Return the artefacts behind a reference (:class:`lossatlas.specs.registry.View`)."""

    def once(self, key: tuple, make: Callable[[], T]) -> T:
        """Return what was made under this key before, or make it."""

    def error(self, where: str, message: str) -> LossatlasError:
        """Return an error that names the study, the preset and the key."""

    def prefixed(self, where: str) -> AbstractContextManager[None]:
        """Put study, preset and key in front of every line of an error raised inside."""


def only(made: Sequence[Artefact]) -> Artefact:
    """Return the one artefact of something that is made whole."""
    (one,) = made
    return one
