"""OpenAI's calls that draw, speak and listen. Requests with files are forms; sound and subtitles come as bytes.

Rules: https://platform.openai.com/docs/api-reference/images and …/audio
"""

from __future__ import annotations

from computer_use_cache.formats.base import Json, UsageFlavor
from computer_use_cache.formats.one_shape import OneShape
from computer_use_cache.formats.openai import OpenAI
from computer_use_cache.models import Query, Shape

_TEXT_FORMATS = ("text", "srt", "vtt")
"""Forms of a transcript that are not JSON."""


def _is_streamed(body: Json) -> bool:
    """Whether a stream is asked for. A form's values are texts, which servers read as leniently as Pydantic does."""
    return str(body.get("stream")).lower() in ("true", "1", "yes", "on", "t", "y")


class Images(OpenAI, OneShape):
    """`/images/generations`."""

    name = "images"
    operation = "generate_content"
    routes = ("/images/generations",)
    conversation = "prompt"
    answered = "data"
    held = ("data",)
    usage_flavor = UsageFlavor("openai", "images", ("images",))
    last_events = ("image_generation.completed",)

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.SSE if _is_streamed(body) else Shape.JSON


class ImageEdits(Images):
    """`/images/edits`."""

    name = "image_edits"
    routes = ("/images/edits",)
    takes_forms = True
    last_events = ("image_edit.completed",)


class ImageVariations(Images):
    """`/images/variations`."""

    name = "image_variations"
    routes = ("/images/variations",)
    takes_forms = True


class Speech(OpenAI, OneShape):
    """`/audio/speech`."""

    name = "speech"
    operation = "generate_content"
    routes = ("/audio/speech",)
    conversation = "input"
    instructions = ("instructions",)
    held = ()
    last_events = ("speech.audio.done",)

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        return Shape.SSE if body.get("stream_format") == "sse" else Shape.RAW


class Transcriptions(OpenAI, OneShape):
    """`/audio/transcriptions`."""

    name = "transcriptions"
    operation = "transcription"
    routes = ("/audio/transcriptions",)
    takes_forms = True
    conversation = "file"
    answered = "text"
    held = ("text",)
    last_events = ("transcript.text.done",)

    def wanted_shape(self, body: Json, path: str, query: Query) -> Shape:
        if _is_streamed(body):
            return Shape.SSE
        return Shape.RAW if body.get("response_format") in _TEXT_FORMATS else Shape.JSON


class Translations(Transcriptions):
    """`/audio/translations`."""

    name = "translations"
    routes = ("/audio/translations",)
