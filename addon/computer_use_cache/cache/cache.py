"""The core, where keys, policy, formats and the store meet: plan a request, look it up, judge an answer, keep it.

No mitmproxy and no clock. The proxy, the importers and the tests all go through it.
"""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from collections.abc import Iterable, Sequence, Set

from msgspec.structs import replace

from computer_use_cache import formats
from computer_use_cache.accounting import prices
from computer_use_cache.cache import judging, policy
from computer_use_cache.cache.concealing import Finder
from computer_use_cache.cache.judging import Judged
from computer_use_cache.cache.keying import Keying
from computer_use_cache.cache.lookup import checked, offline_error, unread
from computer_use_cache.cache.plan import Plan, Route
from computer_use_cache.cache.policy import Controls
from computer_use_cache.cache.samples import Samples
from computer_use_cache.credentials import places
from computer_use_cache.errors import FormatError
from computer_use_cache.formats import walking
from computer_use_cache.formats.answer import Answer
from computer_use_cache.formats.base import Format, Json, load_object
from computer_use_cache.keys import canonical_json, forms, lifting
from computer_use_cache.memory import BoundedMemory, Seen
from computer_use_cache.models import (
    Absent,
    Bypass,
    Cost,
    Entry,
    Reason,
    Request,
    RequestRecord,
    Response,
    Skipped,
)
from computer_use_cache.rebinding import Cause, Refusal, Value, conceal
from computer_use_cache.screens.approval import Approval, Rule
from computer_use_cache.settings import Settings
from computer_use_cache.store.base import NewEntry, Slow, Store

_QUICK_BYTES = 128 * 1024
_BRIEF_BYTES = 16 * 1024
_MOST_REBOUND = 32_768

_LEAST_KNOWN, _MOST_KNOWN = 60.0, 86400.0
"""An expired entry is kept as long as it was fresh, but at least and at most for these numbers of seconds."""


class Cache:
    """The core of one proxy. `loopback` says whether only this machine can reach it, which decides the scope `auto`.

    `proxy_id` names it among the proxies that share a store.
    """

    def __init__(self, settings: Settings, store: Store, *, loopback: bool) -> None:
        self.settings = settings
        self.store = store
        self.proxy_id = secrets.token_hex(4)
        self.keying = Keying(settings, loopback=loopback)
        self.samples = Samples()
        self.rebound_answers = BoundedMemory[str, bool](_MOST_REBOUND)
        """The ids of answers that were rebound although the provider keeps them under these ids, with other values."""
        self._finder = Finder()
        self._kept = Seen[str]()
        caret = any(normalizer.name == Rule.CARET for normalizer in settings.normalize)
        self.screens = Approval(settings.image_mask, caret=caret)

    def plan(self, request: Request) -> Plan:
        """The plan for a request to a cached API (one that `formats.match` knows). Raises RequestError to refuse it."""
        return self.plan_body(self.route(replace(request, body=b"")), request.body)

    def plans_quickly(self, length: int) -> bool:
        """Whether a body of `length` bytes can be planned on the event loop; a longer one needs a thread."""
        return length <= _QUICK_BYTES and not self.settings.normalize

    def prepares_quickly(self, plan: Plan) -> bool:
        """Whether the credentials of a request and the keys of entries with its template are found in less time than a
        thread takes to wake up. The entries must be on this machine."""
        return len(plan.forward) <= _BRIEF_BYTES and not self.settings.normalize and not self.screens.has_rules

    def route(self, request: Request) -> Route:
        """The route of a request to a cached API, for `plan_body`; raises RequestError."""
        found = formats.match(request.path)
        assert found is not None, request.path
        format, resource = found
        resource = resource or format.model_in_base(request.upstream)
        controls = policy.read_controls(request.headers, self.settings)
        return Route(request, format, resource, controls, self.keying.beginning(request, format, resource, controls))

    def plan_body(self, route: Route, sent_body: bytes) -> Plan:
        """The plan for a request with this body. Raises RequestError to refuse it."""
        format, controls, unreadable = route.format, route.controls, None
        content_type = route.request.headers.get("content-type", "")
        is_form = format.takes_forms and forms.is_form(content_type)
        try:
            sent = forms.parse(content_type, sent_body) if is_form else lifting.parse(sent_body)
        except FormatError as error:
            sent, unreadable = {}, Bypass(Reason.FORM, str(error))
        body = sent if is_form else policy.without_controls(sent)
        try:
            parted = places.part(body)
        except RecursionError:
            parted, unreadable = places.Parted(body), Bypass(Reason.FORM, "nested too deeply")
        kept = places.Parted(walking.without_places(parted.body, format.client_ids), parted.credentials)
        model = format.model(body, route.resource)
        verdict: Controls | Bypass = (
            controls.bypass
            or policy.body_bypass(sent, self.settings)
            or unreadable
            or self._bypass(format, len(sent_body), body, model)
            or controls
        )
        computed = ""
        blanked: list[Value] = []  # not `list[Value]()`, which takes two microseconds
        if isinstance(verdict, Controls):
            computed, verdict = self._keyed(route, body, kept, blanked)
        if isinstance(verdict, Bypass) and not controls.upstream:
            raise offline_error(controls.upstream_ban, f"this request is never cached ({verdict})")
        return Plan(
            route=route,
            verdict=verdict,
            key=computed,
            model=model,
            shape=format.wanted_shape(body, route.request.path, route.request.query),
            with_usage=format.wants_usage(body),
            body=kept.body,
            is_whole=not is_form and kept.body is parted.body,
            forward=sent_body if unreadable or body is sent else _forwarded(body, sent_body),
            credentials=parted.credentials,
            blanked=tuple(blanked),
        )

    def _keyed(
        self, route: Route, body: Json, parted: places.Parted, blanked: list[Value]
    ) -> tuple[str, Controls | Bypass]:
        """The key of a request, and its controls, which ban reading if the stored answer must not be served; a Bypass
        if the request cannot have a key."""
        controls, chain = route.controls, route.format.chain
        try:
            computed = self.keying.key(route, parted, blanked)
        except (FormatError, RecursionError) as error:
            return "", Bypass(Reason.FORM, str(error))
        if computed == controls.reject:
            return computed, dataclasses.replace(controls, read_ban="X-Cache-Reject")
        if chain and isinstance(name := body.get(chain), str) and self.rebound_answers.get(name):
            return computed, dataclasses.replace(controls, read_ban="it continues an answer that was rebound")
        return computed, controls

    def _bypass(self, format: Format, length: int, body: Json, model: str) -> Bypass | None:
        if length > self.settings.max_input_chars:
            return Bypass(Reason.TOO_LARGE)
        if reason := format.bypass_reason(body):
            return Bypass(Reason.STATE, reason)
        return policy.model_verdict(model, self.settings)

    def plan_part(self, plan: Plan, body: Json) -> Plan:
        """The plan for one input of a planned batch, as if it had been asked for alone. Raises FormatError."""
        assert isinstance(plan.verdict, Controls), "a bypass has no parts"
        return self._replanned(plan, places.Parted(body, plan.credentials))

    def plan_sample(self, plan: Plan, nth: int, template_nth: int | None) -> Plan:
        """The plan for the `nth` sample of a request."""
        numbered = replace(plan, nth=nth, template_nth=template_nth)
        return self._replanned(numbered, places.Parted(plan.body, plan.credentials))

    def _replanned(self, plan: Plan, parted: places.Parted) -> Plan:
        blanked: list[Value] = []
        computed = self.keying.key(plan.route, parted, blanked, nth=plan.nth, kinds=plan.secret_kinds)
        return replace(plan, key=computed, body=parted.body, blanked=tuple(blanked))

    def conceal(self, plan: Plan) -> Plan:
        """The plan with `<secret n>` in place of each credential in the request's texts, and its key computed anew.

        It is a bypass if that is impossible, or if the API does not answer in text. Slow: call it off the event loop.
        """
        try:
            found = conceal(plan.body, self._finder.searching_for(plan.credentials))
        except RecursionError:
            return _bypassed(plan, Bypass(Reason.FORM, "nested too deeply"))
        if isinstance(found, Refusal):
            return _bypassed(plan, Bypass(Reason.CREDENTIAL, str(found)))
        if not found.secrets:
            return plan
        if not plan.format.answers_in_text:
            return _bypassed(plan, Bypass(Reason.CREDENTIAL, str(Cause.NOT_TEXT)))
        concealed = replace(plan, secrets=found.secrets, secret_kinds=found.kinds)
        return self._replanned(concealed, places.Parted(found.body, plan.credentials))

    def lookup(self, plan: Plan, now: float) -> Entry | Absent:
        """The entry that may answer the plan at `now`, or why no entry may. Blocks; raises StoreError."""
        return unread(plan) or checked(plan, self._stored(plan), now)

    def lookup_quickly(self, plan: Plan, now: float) -> Entry | Absent | Slow:
        """`lookup` for the event loop: SLOW if `lookup` must be used in a thread instead, because the entry takes too
        long to read or the body must be hashed again."""
        if absent := unread(plan):
            return absent
        entry = self.store.get_quickly(plan.key)
        if entry is Slow.SLOW or (entry is None and self.keying.has_earlier_keys(plan)):
            return Slow.SLOW
        return checked(plan, entry if entry and entry.key == plan.key else None, now)

    def lookup_stale(self, plan: Plan, now: float) -> Entry | None:
        """The expired entry that may be served at `now` because the upstream failed. Blocks; raises StoreError."""
        if isinstance(plan.verdict, Bypass) or not plan.verdict.stale_seconds:
            return None
        entry = self._stored(plan)
        if entry is None or entry.offline_only or not entry.is_usable(now):
            return None
        return entry if entry.is_fresh(now - plan.verdict.stale_seconds) else None

    def _stored(self, plan: Plan) -> Entry | None:
        keys = itertools.chain([plan.key], self.keying.earlier_keys(plan))
        found = ((name, self.store.get(name)) for name in keys)
        return next((entry for name, entry in found if entry and entry.key == name), None)

    def judge(self, plan: Plan, response: Response, now: float) -> Entry | Skipped:
        """The entry for an upstream's complete answer, received at `now`, or why it must not be stored."""
        judged = self.judge_and_read(plan, response, now)
        return judged if isinstance(judged, Skipped) else judged.entry

    def judge_and_read(self, plan: Plan, response: Response, now: float) -> Judged | Skipped:
        """`judge`, with the answer as it is stored. Slow the first time: call it off the event loop."""
        return judging.judge(plan, response, self.settings, now)

    def cost(self, plan: Plan, response: Response, now: float) -> Cost:
        """The cost of an answer that is not stored. Slow the first time: call it off the event loop."""
        shape = judging.shape_of(response.headers.get("content-type", ""), plan.shape)
        if response.status != 200:
            return Cost(usd=0.0, seconds=response.seconds)
        if shape is None:
            return Cost(seconds=response.seconds)
        answer = Answer(plan.format, shape, response.body)
        return prices.cost_of(answer, plan.upstream, plan.model, seconds=response.seconds, now=now)

    def kind_of_credential(self, texts: Iterable[str], credentials: Sequence[str] = ()) -> str:
        """The kind of the first credential in the texts, one of these or any other; "" if they hold no credential.
        Slow: call it off the event loop."""
        search = self._finder.searching_for(credentials)
        return next((kind for text in texts for _, _, kind in search(text)), "")

    def concealed_body(self, format: Format, body: Json) -> Json:
        """The body in the form that is stored: without credentials or the client's ids. Slow: call it off the event
        loop."""
        parted = places.part(walking.without_places(body, format.client_ids))
        found = conceal(parted.body, self._finder.searching_for(parted.credentials))
        assert not isinstance(found, Refusal), "the request would be a bypass"
        return found.body

    def keep(self, entry: Entry, now: float, record: RequestRecord | None = None) -> bool:
        """`keep_all` for one entry; True if it replaced another."""
        return entry.key in self.keep_all([(entry, record)], now)

    def keep_all(self, batch: Iterable[tuple[Entry, RequestRecord | None]], now: float) -> Set[str]:
        """Write entries and the requests they answer at `now`; the keys of those that replaced others. Raises
        StoreError.

        An answer without content never replaces one that has content.
        """
        new = dict[str, NewEntry]()
        for entry, record in batch:
            if not (entry.offline_only and (entry.key in new or self._has_content(entry.key, now))):
                new[entry.key] = NewEntry(entry, self.keep_seconds(entry, now), record)
                self.note_kept(entry.key)
        return self.store.put_all(list(new.values())) if new else set()

    def _has_content(self, key: str, now: float) -> bool:
        held = self.store.get(key)
        return held is not None and not held.offline_only and held.is_fresh(now)

    def note_kept(self, key: str) -> None:
        """This proxy has stored the entry, here or in a process of its own."""
        self._kept.add(key)

    def has_kept(self, key: str) -> bool:
        """Whether this proxy itself has stored the entry lately."""
        return key in self._kept

    def keep_seconds(self, entry: Entry, now: float) -> float | None:
        """How long the store keeps an entry from `now` on (None: forever): until some time after it expires, so that a
        miss can be reported as stale."""
        if entry.expires_at is None:
            return None
        fresh_seconds = entry.expires_at - now
        known_seconds = min(max(fresh_seconds, _LEAST_KNOWN), _MOST_KNOWN) if fresh_seconds > 0 else 0.0
        return max(fresh_seconds + max(self.settings.stale_if_error_seconds, known_seconds), 0.0)


def _bypassed(plan: Plan, bypass: Bypass) -> Plan:
    return replace(plan, verdict=bypass, key="")


def _forwarded(body: Json, sent: bytes) -> bytes:
    """The body to forward: what was sent, without our controls."""
    return canonical_json.write(body, lambda: policy.without_controls(load_object(sent)))
