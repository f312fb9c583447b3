"""What may be registered: the one validation behind the form, the JSON API and the command.

Pure: fields in, a :class:`~watchducks.model.sites.Registration` or the problems out. Whether a name
or a domain is still free only the registry can tell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from watchducks.model.names import (
    normalise_domain,
    normalise_email,
    normalise_name,
    registrable_domain,
    zone_of,
)
from watchducks.model.origins import Address, Origin, check_origin, leads_back, parse_origin
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import (
    DEFAULT_CHOICES,
    OriginTls,
    Registration,
    SiteChoices,
    Visibility,
)
from watchducks.registry.choices import CHOICES, consistent, validate_choice, yes_or_no

# In the order of the form.
FIELDS: Final = ("name", "domain", "origin", "email", "cohort")
# Switches the signing of the zone on and off (watchducks.registry.keys).
DNSSEC: Final = "dnssec"
# Which zone is delegated to us, where it is not the usual one.
ZONE: Final = "zone"
# Who may see the site.
VISIBILITY: Final = "visibility"
# Has DNS answer with the origin for some minutes (model.cutover.DRILL_SECONDS), or ends that.
DRILL: Final = "drill"
CHANGEABLE: Final = ("origin", "email", "cohort", *CHOICES, DNSSEC, VISIBILITY, DRILL)
OPTIONAL: Final = frozenset({"cohort"})
DEFAULT_COHORT: Final = "default"

# Twice the longest value that any field accepts (254); what is longer is not even parsed.
MAX_FIELD_CHARACTERS: Final = 512
# Unknown fields are a mistake, or an attack: enough of them are named to see which.
MAX_UNKNOWN_FIELDS: Final = 5
MAX_FIELD_NAME_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """What the sysadmin's configuration says about registrations.

    :ivar own_addresses: the proxies' and name servers' addresses, which are nobody's origin.
    :ivar allow_private_origins: for tests and closed networks; such networks have top-level names
        of their own too (``.lan``), so unknown suffixes are accepted as well.
    """

    own_addresses: Collection[Address]
    allow_private_origins: bool


@dataclass(frozen=True, slots=True)
class SiteChanges:
    """A request to change a site, validated; None leaves a field as it is."""

    origin: Origin | None = None
    email: str | None = None
    cohort: str | None = None
    origin_tls: OriginTls | None = None
    origin_pin: str | None = None
    redirect_to_https: bool | None = None
    hsts_seconds: int | None = None
    keep_networks: bool | None = None
    query_parameters: str | None = None
    honour_gpc: bool | None = None
    ranked: bool | None = None
    dnssec: bool | None = None
    visibility: Visibility | None = None
    drill: bool | None = None


def chosen(before: SiteChoices, changes: SiteChanges) -> SiteChoices:
    """Return what a site's choices become.

    :raises InvalidFields: together they make no sense.
    """
    asked = {field: getattr(changes, field) for field in CHOICES}
    given = {field: value for field, value in asked.items() if value is not None}
    return consistent(replace(before, **given), pin_given="origin_pin" in given)


def validate(fields: Mapping[str, object], policy: Policy) -> Registration:
    """Return the registration that ``fields`` (text by field name) ask for.

    :raises InvalidFields: with every problem of every field.
    """
    values, problems = _validated(fields, (*FIELDS, ZONE, *CHOICES), policy)
    for field in FIELDS:
        if field not in fields and field not in OPTIONAL:
            problems[field] = Problem("missing", "This field is required.")
    if ZONE in values and "domain" in values and not may_be_zone(values[ZONE], values["domain"]):
        problems[ZONE] = Problem(
            "zone",
            "Enter {domain} itself, or a name above it down from {registrable}.",
            domain=values["domain"],
            registrable=registrable_domain(values["domain"]),
        )
    if "origin" in values and "domain" in values:
        zone = values.get(ZONE, zone_of(values["domain"]))
        back = leads_back(values["origin"], (values["domain"], zone, f"www.{zone}"))
        if back is not None:
            problems["origin"] = back
    if problems:
        raise InvalidFields(_ordered(problems))
    given = {field: values.pop(field) for field in CHOICES if field in values}
    choices = consistent(replace(DEFAULT_CHOICES, **given), pin_given="origin_pin" in given)
    return Registration(**{"cohort": DEFAULT_COHORT, "choices": choices, **values})


def may_be_zone(zone: str, domain: str) -> bool:
    """Return whether the owner of ``domain`` may have ``zone`` served: it is around the domain, and
    somebody can register it, or a name above it."""
    registrable = registrable_domain(domain)
    return f".{domain}".endswith(f".{zone}") and f".{zone}".endswith(f".{registrable}")


def validate_changes(fields: Mapping[str, object], policy: Policy) -> SiteChanges:
    """Return the changes that ``fields`` ask for; a field that is not there stays as it is.

    :raises InvalidFields: with every problem of every field; name and domain cannot be changed.
    """
    values, problems = _validated(fields, CHANGEABLE, policy)
    if problems:
        raise InvalidFields(_ordered(problems))
    return SiteChanges(**values)


def validate_field(field: str, value: object, policy: Policy) -> str | Origin:
    """Return one field's value, normalised: what live validation asks while somebody types.

    :raises Problem: the value is wrong, or there is no such field.
    """
    if field not in FIELDS:
        raise _unknown(field)
    if not isinstance(value, str):
        raise Problem("type", "Enter this field as text.")
    if len(value) > MAX_FIELD_CHARACTERS:
        raise Problem("too-long", "At most {limit} characters.", limit=MAX_FIELD_CHARACTERS)
    # Control characters and halves of surrogate pairs are no part of any value, and must not
    # reach a message either: it could not be encoded.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value.strip()):
        raise Problem("control-characters", "Remove line breaks and control characters.")
    match field:
        case "name":
            return normalise_name(value, "name")
        case "domain":
            return normalise_domain(value, closed_network=policy.allow_private_origins)
        case "origin":
            origin = parse_origin(value)
            check_origin(
                origin,
                own_addresses=policy.own_addresses,
                allow_private=policy.allow_private_origins,
            )
            return origin
        case "email":
            return normalise_email(value)
        case _:
            # A form sends what was left empty as an empty text.
            return normalise_name(value, "cohort") if value.strip() else DEFAULT_COHORT


def _validated(
    fields: Mapping[str, object], accepted: Collection[str], policy: Policy
) -> tuple[dict[str, Any], dict[str, Problem]]:
    values: dict[str, Any] = {}
    problems: dict[str, Problem] = {}
    unknown = 0
    for field, value in fields.items():
        if field in accepted:
            try:
                values[field] = _validated_value(field, value, policy)
            except Problem as problem:
                problems[field] = problem
        elif field in FIELDS:
            problems[field] = Problem(
                "unchangeable", "The {field} of a site cannot be changed.", field=field
            )
        elif unknown < MAX_UNKNOWN_FIELDS:
            unknown += 1
            strange = _unknown(field)
            problems[str(strange.parameters["field"])] = strange
    return values, problems


def _validated_value(field: str, value: object, policy: Policy) -> object:
    if field == ZONE:
        return validate_field("domain", value, policy)
    if field in (DNSSEC, DRILL):
        return yes_or_no(value)
    if field == VISIBILITY:
        return _visibility(value)
    if field in CHOICES:
        return validate_choice(field, value)
    return validate_field(field, value, policy)


def _visibility(value: object) -> Visibility:
    try:
        return Visibility(str(value).strip().lower())
    except ValueError:
        raise Problem("visibility", "Choose public, unlisted or private.") from None


def _unknown(field: str) -> Problem:
    shown = field[:MAX_FIELD_NAME_CHARACTERS].encode("ascii", "backslashreplace").decode()
    return Problem("unknown-field", "There is no field {field}.", field=shown)


def _ordered(problems: dict[str, Problem]) -> dict[str, Problem]:
    """Sort as the form is; unknown fields keep their order behind it."""
    places = {
        field: place for place, field in enumerate((*FIELDS, ZONE, *CHOICES, DNSSEC, VISIBILITY))
    }
    return dict(sorted(problems.items(), key=lambda item: places.get(item[0], len(places))))
