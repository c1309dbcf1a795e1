"""Fields that judge by the functions of ``domain``, so that every rule and every reason stands once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, TypeAlias, cast

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import InvalidInput, Sentence


@dataclass(frozen=True, slots=True)
class Site:
    """What a check needs besides the value: the zone of local times, and the policy for targets."""

    zone: tzinfo
    check_url: Callable[[object, str], Destination]


#: For schemas that read neither local times nor targets.
NOWHERE = Site(UTC, check_url)

#: Takes the value, the field's name and the site; returns what the value means or raises :class:`InvalidInput`.
Check: TypeAlias = Callable[[Any, str, Site], Any]

_MESSAGES: dict[str, str | list[Any] | dict[Any, Any]] = {"required": [Sentence("is missing")]}


class SiteSchema(Schema):
    """A schema whose fields may ask their site. Unknown members are ignored, as all systems of this family do."""

    class Meta:
        unknown = EXCLUDE

    def __init__(self, site: Site = NOWHERE, **options: Any) -> None:
        super().__init__(**options)
        self.site = site


class _Checked(fields.Field[Any]):
    """A field that leaves all judgement, that of ``null`` too, to a function; what JSON type it has, its class says."""

    def __init__(self, check: Check, **options: Any) -> None:
        self.check = check
        super().__init__(error_messages=_MESSAGES, **options)

    def deserialize(
        self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        if value is missing:
            return super().deserialize(value, attr, data, **kwargs)
        root = self.root
        assert isinstance(root, SiteSchema)
        try:
            return self.check(value, attr or str(self.name), root.site)
        except InvalidInput as error:
            raise ValidationError({name: list(reasons) for name, reasons in error.errors.items()}) from error


class CheckedString(_Checked, fields.String):
    """A JSON string."""


class CheckedNumber(_Checked, fields.Float):
    """A JSON number."""


class CheckedInteger(_Checked, fields.Integer):
    """A whole number in a query."""


class CheckedFlag(_Checked, fields.Boolean):
    """A JSON boolean, or in a query a word for one."""


class CheckedObject(_Checked, fields.Dict):
    """A JSON object."""


class CheckedValue(_Checked, fields.Raw):
    """Any JSON value."""


def load(
    schema: SiteSchema, members: Mapping[str, Any], more: Mapping[str, Sequence[Sentence]] | None = None
) -> dict[str, Any]:
    """Return what the members mean.

    :param more: faults found elsewhere; a field's own fault counts more than what is here
    :raises InvalidInput: with every fault there is, by dotted names
    """
    errors: dict[str, Sequence[Sentence]] = {}
    loaded: dict[str, Any] = {}
    try:
        loaded = cast("dict[str, Any]", schema.load(members))
    except ValidationError as error:
        for name, reasons in cast("dict[str, Any]", error.messages).items():
            # A field's check names its faults in full, for instance "retry.maxAttempts".
            errors.update(reasons if isinstance(reasons, dict) else {name: reasons})
    errors = {**(more or {}), **errors}
    if errors:
        raise InvalidInput(errors)
    return loaded
