"""Tags as users hand them over."""

from typing import Any, Protocol, TypeAlias

from orchestrator import spec
from orchestrator.errors import StoreError
from orchestrator.spec import LATEST

__all__ = ["Tag", "TagLike", "Tagged", "tag_of"]


class Tagged(Protocol):
    """A stored model, or what the store knows of one."""

    @property
    def tag(self) -> spec.Tag: ...


TagLike: TypeAlias = str | spec.Tag | Tagged


class Tag(spec.Tag):
    """`name:version`, made with two texts or read from one.

        Tag("iris", "v1") == Tag.of("iris:v1") == Tag.from_taglike("iris:v1")

    Without a version it is `latest`.
    """

    def __init__(self, name: str, version: str | None = None) -> None:
        super().__init__(name=name, version=version or LATEST)

    @classmethod
    def from_taglike(cls, taglike: TagLike) -> "Tag":
        """The tag that a text, a tag or a stored model stands for.

        Raises:
            StoreError: the text is no tag.
        """
        return tag_of(taglike)

    def __eq__(self, other: Any) -> bool:
        # pydantic's own would tell this class from the one below it.
        return isinstance(other, spec.Tag) and (self.name, self.version) == (other.name, other.version)

    def __hash__(self) -> int:
        return hash((self.name, self.version))


def tag_of(given: TagLike) -> Tag:
    """The tag that somebody means.

    Raises:
        StoreError: it is none; the message says what one looks like.
    """
    tag = getattr(given, "tag", given)
    if isinstance(tag, spec.Tag):
        return Tag(tag.name, tag.version)
    try:
        if not isinstance(tag, str):
            raise ValueError(f"{type(given).__name__} is no tag")
        found = spec.Tag.of(tag)
    except ValueError as error:
        raise StoreError(str(error), hint="a tag is name, name:version or name:alias") from None
    return Tag(found.name, found.version)
