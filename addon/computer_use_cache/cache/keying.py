"""Computes the keys of requests: who shares entries, what a body contributes, and the keys it had in older versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from computer_use_cache.cache.known_keys import KnownKeys
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.cache.policy import Controls
from computer_use_cache.credentials import caller, places
from computer_use_cache.formats.base import Format, Json
from computer_use_cache.keys import key
from computer_use_cache.models import Request
from computer_use_cache.rebinding import Value
from computer_use_cache.rebinding.kinds import NORMALIZED
from computer_use_cache.screens.picture import map_pictures, without_metadata
from computer_use_cache.setting_values import Scope
from computer_use_cache.settings import Settings


class Keying:
    """The keys of one proxy. `loopback` says whether only this machine can reach it, which decides the scope `auto`."""

    def __init__(self, settings: Settings, *, loopback: bool) -> None:
        self._settings = settings
        self._known = KnownKeys()
        self._is_shared = settings.scope is Scope.SHARED or (settings.scope is Scope.AUTO and loopback)

    def scope(self, request: Request) -> str:
        """Who shares entries with the caller, as it enters the key: "" for everybody. Holds no credential."""
        if self._counts_credentials(request):
            return caller.digest(caller.of_caller(request.headers, request.query))
        return f"client {request.client}" if request.client and self._settings.scope is not Scope.SHARED else ""

    def _counts_credentials(self, request: Request) -> bool:
        return not self._is_shared and not request.client

    def beginning(
        self, request: Request, format: Format, resource: str, controls: Controls, nth: int | None = None
    ) -> Any:
        """The part of the key before the body; for the `nth` sample if samples are ordered."""
        return key.begin(
            scope=self.scope(request),
            namespace=controls.namespace,
            sample=nth or controls.sample or 1,
            upstream=request.upstream,
            format_name=format.name,
            resource=f"{resource} {wanted}" if (wanted := format.wanted_type(request.headers)) else resource,
            query=key.relevant_query(request.query),
            headers=request.headers,
        )

    def key(
        self,
        route: Route,
        parted: places.Parted,
        blanked: list[Value],
        *,
        nth: int | None = None,
        kinds: tuple[str, ...] = (),
    ) -> str:
        """The key of a request with this body: of its `nth` sample, with these kinds of secrets. Appends the
        values that normalisers remove from texts to `blanked`. Raises FormatError."""
        body = self._normalized_body(route.format, parted.body, blanked)
        return self._known.key(self._begun(route, nth), route.format, body, self._counted(route, parted, kinds))

    def earlier_keys(self, plan: Plan) -> Iterator[str]:
        """The other keys under which an entry for this request may be stored. Each costs one hash."""
        for body in self._earlier_bodies(plan):
            yield key.finish(self._begun(plan.route, plan.nth), body, self._counted_in(plan))

    def has_earlier_keys(self, plan: Plan) -> bool:
        """Whether there is one; costs no hash."""
        return next(self._earlier_bodies(plan), None) is not None

    def template_digest(self, plan: Plan, template: Json) -> str:
        """The digest of a request's template, which is the same for all samples."""
        return key.finish(plan.route.key_beginning, template, self._counted_in(plan))

    def _begun(self, route: Route, nth: int | None) -> Any:
        if nth is None:
            return route.key_beginning
        return self.beginning(route.request, route.format, route.resource, route.controls, nth)

    def _counted_in(self, plan: Plan) -> str:
        return self._counted(plan.route, places.Parted(plan.body, plan.credentials), plan.secret_kinds)

    def _counted(self, route: Route, parted: places.Parted, kinds: tuple[str, ...]) -> str:
        """What enters a key besides the body: the kinds of secrets in its texts, and a digest of the credentials found
        in it, which separate entries as the caller's credential does, unless entries are shared."""
        is_counted = parted.credentials and self._counts_credentials(route.request)
        return "\0".join((caller.digest("\0".join(parted.credentials)) if is_counted else "", *kinds))

    def key_body(self, format: Format, body: Json) -> Json:
        """What a request's body (as parsed by `canonical_json.parse_body`) contributes to the key."""
        return map_pictures(format, self._normalized_body(format, body, []), without_metadata)

    def _normalized_body(self, format: Format, body: Json, blanked: list[Value]) -> Json:
        """The same, with the metadata of pictures. If its API answers in text, the values that normalisers remove are
        appended to `blanked`."""
        exact = self._exact_body(format, body)
        if not self._settings.normalize:
            return exact
        texts: list[str] = []
        normalized = self._normalized(format, exact, texts)
        if format.answers_in_text:
            blanked += (Value(NORMALIZED.name, text) for text in texts)
        return normalized

    def _exact_body(self, format: Format, body: Json) -> Json:
        return key.remove_pointers(format.key_body(body), self._settings.ignore_keys)

    def _normalized(self, format: Format, body: Json, blanked: list[str]) -> Json:
        for normalizer in self._settings.normalize:
            body = normalizer.apply(format, body, blanked)
        return body

    def _earlier_bodies(self, plan: Plan) -> Iterator[Json]:
        """The bodies that were hashed for this request before normalisers were configured, and before the metadata of
        pictures was left out. Looking for entries with such keys costs one hash each, on misses only."""
        has_metadata = map_pictures(plan.format, plan.body, without_metadata) is not plan.body
        if not (has_metadata or (plan.body and self._settings.normalize)):
            return
        exact = self._exact_body(plan.format, plan.body)
        if self._settings.normalize:
            yield exact
        whole = self._normalized(plan.format, exact, [])
        if map_pictures(plan.format, whole, without_metadata) is not whole:
            yield whole
