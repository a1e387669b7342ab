"""Tokens of images, audio, files and videos, by the formulas of `providers/`. Pure: nothing is fetched.

Every answer is an upper bound where the truth cannot be known: an image behind a URL counts the most that its model
makes of any image. Sizes are read from the headers of `data:` URLs, whatever the size of the image behind them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import assert_never

from gateway.budget import pdf
from gateway.conversation import Media
from gateway.providers.families import family_of
from gateway.providers.formulas import ClaudePatches, Formula, GeminiLevels, GeminiTiles, Patches, Tiles
from gateway.providers.gemini import SOUND, TILES

Size = tuple[int, int]

# ------------------------------------------------------------------------------------------------------------ images


_OPENAI_PATCH = 32
_CLAUDE_PATCH = 28


def part_tokens(provider: str, model: str, part: Media) -> int:
    """Count a part of a message that is not text."""
    match part.kind:
        case "image":
            return image_tokens(provider, model, part.data, part.detail)
        case "audio":
            return audio_tokens(provider, model, part.data, part.detail)
        case "file":
            return file_tokens(provider, model, part.data, part.size, part.name)
        case "video":
            return video_tokens(provider, model, part.data, part.detail)
        case "other":
            return other_tokens(part.data)


def image_tokens(provider: str, model: str, url: str, detail: str | None) -> int:
    """Count an image given as a `data:` URL, or the most that any image counts where only an address is given."""
    return tokens_of_size(image_formula(provider, model), _image_size(url), (detail or "auto").lower())


@lru_cache(maxsize=1024)
def image_formula(provider: str, model: str) -> Formula:
    """Return the formula of a model, as its family has it."""
    return family_of(provider, model).image_formula(model)


def tokens_of_size(formula: Formula, size: Size | None, detail: str) -> int:
    """Apply a formula to an image of (width, height) in pixels; None means unknown, and counts the most."""
    match formula:
        case Tiles(base, tile):
            if detail == "low":
                return base
            return base + tile * (8 if size is None else _tiles(size))  # at most 2048 by 768: 4 by 2 tiles
        case Patches():
            return _patch_tokens(formula, size, detail)
        case ClaudePatches(most):
            return most if size is None else _claude_patches(size, formula)
        case GeminiTiles(tile, most):
            return tile * (most if size is None else _gemini_tiles(size, formula))
        case GeminiLevels():
            levels = {"low": formula.low, "medium": formula.medium, "ultra_high": formula.ultra_high}
            return levels.get(detail, formula.usual)
        case _:
            assert_never(formula)


def _tiles(size: Size) -> int:
    width, height = _within(size, 2048)
    shortest = min(width, height)
    if shortest > 768:
        width, height = (max(1, round(side * 768 / shortest)) for side in (width, height))
    return math.ceil(width / 512) * math.ceil(height / 512)


def _patch_tokens(formula: Patches, size: Size | None, detail: str) -> int:
    if detail == "low" and formula.low is not None:
        return math.ceil(formula.low * formula.multiplier)
    most = formula.auto if formula.auto is not None and detail != "high" else formula.most
    if size is None:
        return math.ceil(most * formula.multiplier)
    return math.ceil(round(_patches(size, most) * formula.multiplier, 6))


def _patches(size: Size, most: int) -> int:
    """Patches that cover an image, scaled down in two steps until there are no more than `most`."""
    width, height = size
    patches = math.ceil(width / _OPENAI_PATCH) * math.ceil(height / _OPENAI_PATCH)
    if patches <= most:
        return patches
    shrink = math.sqrt(most / (width * height))
    across, down = width * shrink, height * shrink
    # Shrink on until the side that loses less is a whole number of patches. A very thin image has no whole patch.
    fit = min(math.floor(across) / across, math.floor(down) / down) or 1.0
    return min(most, math.ceil(round(across * fit, 6)) * math.ceil(round(down * fit, 6)))


def _claude_patches(size: Size, formula: ClaudePatches) -> int:
    width, height = _within(size, formula.longest_side)
    across, down = width / _CLAUDE_PATCH, height / _CLAUDE_PATCH
    if math.ceil(across) * math.ceil(down) <= formula.most:
        return math.ceil(across) * math.ceil(down)
    # The largest copy has a whole number of patches one way: try those next below the size where area alone would fit.
    shrink = math.sqrt(formula.most / (across * down))
    scales = [(math.floor(side * shrink) - fewer) / side for side in (across, down) for fewer in range(3)]
    for scale in sorted(scales, reverse=True):
        patches = math.ceil(round(across * scale, 6)) * math.ceil(round(down * scale, 6))
        if 0 < patches <= formula.most:
            return patches
    return formula.most


def _gemini_tiles(size: Size, formula: GeminiTiles) -> int:
    width, height = _within(size, formula.longest_side)
    if width <= 384 and height <= 384:
        return 1
    unit = min(768, max(256, math.floor(min(width, height) / 1.5)))
    return math.ceil(width / unit) * math.ceil(height / unit)


def _within(size: Size, longest: int) -> Size:
    width, height = size
    most = max(width, height)
    if most <= longest:
        return size
    return max(1, round(width * longest / most)), max(1, round(height * longest / most))


# ------------------------------------------------------------------------------------------------------- image sizes


class _Encoded:
    """Random access into base64 text: only the few bytes asked for are decoded."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        padding = text.count("=", max(start, len(text) - 2))
        self.size = max(0, (len(text) - start) * 3 // 4 - padding)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer at the end, none where the text is not base64."""
        first, last = offset // 3, -(-(offset + length) // 3)
        text = self._text[self._start + first * 4 : self._start + last * 4]
        if "-" in text or "_" in text:
            text = text.replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            return b""
        return data[offset - first * 3 :][:length]


def _image_size(url: str) -> Size | None:
    encoded = _data_url(url)
    if encoded is None:
        return None
    head = encoded.read(0, 32)
    size: Size | None = None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        size = _big(head[16:20]), _big(head[20:24])
    elif head.startswith((b"GIF87a", b"GIF89a")):
        size = _little(head[6:8]), _little(head[8:10])
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg_size(encoded)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp_size(head)
    return size if size is not None and min(size) > 0 else None


def _jpeg_size(encoded: _Encoded) -> Size | None:
    """Walk from segment to segment to the frame header. Metadata before it is skipped, not read."""
    offset = 2
    for _ in range(1000):
        head = encoded.read(offset, 9)
        if len(head) < 9 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # fill
            offset += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(head[7:9]), _big(head[5:7])
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # stand alone
            offset += 2
        elif marker in (0xD9, 0xDA):  # the image ends, or its data begins: no frame header came
            return None
        else:
            offset += 2 + _big(head[2:4])
    return None


def _webp_size(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return None


def _data_url(url: str) -> _Encoded | None:
    if url[:5].lower() != "data:":
        return None
    comma = url.find(",", 0, 1024)
    if comma < 0 or not url[:comma].lower().rstrip().endswith(";base64"):
        return None
    return _Encoded(url, comma + 1)


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


# ------------------------------------------------------------------------------------------------------------- audio

# The fewest bytes a second that a format is used with: dividing by them bounds the duration from above.
_LEAST_BYTES_PER_SECOND = {
    "pcm16": 32_000,  # 16 kHz; OpenAI takes 24 kHz only
    "g711_ulaw": 8_000,
    "g711_alaw": 8_000,
    "flac": 8_000,
    "wav": 8_000,
}
_LEAST_BYTES_PER_SECOND_OF_ANY = 1_000  # 8 kbit/s speech codecs
_UNKNOWN_AUDIO_SECONDS = 60
_LONGEST_SECONDS = 24 * 3600
_MP3_KBITS = {
    "1": (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    "2": (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {"1": (44_100, 48_000, 32_000), "2": (22_050, 24_000, 16_000), "2.5": (11_025, 12_000, 8_000)}


def audio_tokens(provider: str, model: str, data: str, audio_format: str | None) -> int:
    """Count audio given as base64 or a `data:` URL, by its duration; of an address that is a guess."""
    seconds: float = _UNKNOWN_AUDIO_SECONDS
    if not _is_address(data):
        seconds = _audio_seconds(_data_url(data) or _Encoded(data, 0), (audio_format or "").lower())
    return math.ceil(min(seconds, _LONGEST_SECONDS) * family_of(provider, model).audio_rate(model))


def _audio_seconds(encoded: _Encoded, audio_format: str) -> float:
    head = encoded.read(0, 10)
    seconds: float | None = None
    if head.startswith(b"RIFF"):
        seconds = _wav_seconds(encoded)
    elif len(head) == 10 and (head.startswith(b"ID3") or head[0] == 0xFF):
        seconds = _mp3_seconds(encoded, head)
    elif head[4:8] == b"ftyp":
        seconds = _mp4_seconds(encoded)
    if seconds is not None:
        return seconds
    return encoded.size / _LEAST_BYTES_PER_SECOND.get(audio_format, _LEAST_BYTES_PER_SECOND_OF_ANY)


def _wav_seconds(encoded: _Encoded) -> float | None:
    """Duration from the bytes that are there; a streamed file's header does not know its length."""
    offset = 12
    for _ in range(100):
        head = encoded.read(offset, 24)
        if len(head) < 24:
            return None
        if head[:4] == b"fmt ":
            bytes_per_second = _little(head[16:20])
            return encoded.size / bytes_per_second if bytes_per_second else None
        offset += 8 + _little(head[4:8]) + (_little(head[4:8]) & 1)
    return None


def _mp3_seconds(encoded: _Encoded, head: bytes) -> float | None:
    """Duration from the number of frames where the file says it, else from the first frame's bit rate."""
    offset = 0
    if head.startswith(b"ID3"):
        offset = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    frame = encoded.read(offset, 64)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # sync, layer III
        return None
    version = {3: "1", 2: "2", 0: "2.5"}.get(frame[1] >> 3 & 3)
    rate_index = frame[2] >> 2 & 3
    if version is None or rate_index == 3:
        return None
    rate = _MP3_RATES[version][rate_index]
    mark = max(frame.find(b"Xing"), frame.find(b"Info"))
    if 0 < mark <= 48 and frame[mark + 7] & 1:
        return _big(frame[mark + 8 : mark + 12]) * (1152 if version == "1" else 576) / rate
    kbits = (*_MP3_KBITS["1" if version == "1" else "2"], 0)[frame[2] >> 4]
    return (encoded.size - offset) / (kbits * 125) if kbits else None


# ------------------------------------------------------------------------------------------------------------- files

# A page of a PDF is its text and its picture. Anthropic: 1,500 to 3,000 tokens of text and the page as an image
# (platform.claude.com/docs/en/build-with-claude/pdf-support); OpenAI: text and image as well. Gemini: the image alone.
_PDF_PAGE_TEXT = 3_000
# Guesses, the numbers here without a source: a file that only its id or address names, and a page of a PDF that does
# not say how many it has (encrypted, or not a whole one).
_UNKNOWN_FILE_TOKENS = 10_000
_UNKNOWN_PAGE_BYTES = 10_000


def file_tokens(provider: str, model: str, data: str, size: int | None = None, name: str | None = None) -> int:
    """Bound a file given as base64 or a `data:` URL: a PDF by its pages, anything else by its bytes.

    An empty `data`, or an address, is a file that the provider holds or fetches: its declared `size` in bytes says what
    can be known of it, with its `name`.
    """
    if not data or _is_address(data):
        if not size:
            return _UNKNOWN_FILE_TOKENS
        is_pdf = (name or data).lower().endswith(".pdf")
        return _unknown_pdf_tokens(provider, model, size) if is_pdf else size
    encoded = _data_url(data) or _Encoded(data, 0)
    if not encoded.read(0, 5).startswith(b"%PDF-"):
        return encoded.size
    pages = pdf.pages(_pieces(encoded))
    if pages is None:
        return _unknown_pdf_tokens(provider, model, encoded.size)
    return pages * _pdf_page_tokens(provider, model)


def _unknown_pdf_tokens(provider: str, model: str, size: int) -> int:
    pages = min(pdf.MOST_PAGES, -(-size // _UNKNOWN_PAGE_BYTES))
    return min(size, pages * _pdf_page_tokens(provider, model))


def _pdf_page_tokens(provider: str, model: str) -> int:
    match image_formula(provider, model):
        case GeminiTiles(page=page) | GeminiLevels(page=page):
            return page
        case formula:
            return _PDF_PAGE_TEXT + tokens_of_size(formula, (1700, 2200), "high")  # a letter page at 200 dpi


def _pieces(encoded: _Encoded) -> Iterator[bytes]:
    """Yield a file, or where it is long its beginning and its end."""
    half = pdf.MOST_BYTES // 2
    if encoded.size <= pdf.MOST_BYTES:
        yield encoded.read(0, encoded.size)
    else:
        yield encoded.read(0, half)
        yield encoded.read(encoded.size - half, half)


# ------------------------------------------------------------------------------------------------------------- video

# Gemini: a frame a second, and its sound. Others publish nothing: as the most demanding.
_UNKNOWN_VIDEO_SECONDS = 60
"""Of a video that only its address names: a guess."""
_LEAST_VIDEO_BYTES_PER_SECOND = 25_000


def video_tokens(provider: str, model: str, data: str, detail: str | None = None) -> int:
    """Count a video by its duration: as its header says, or at most what its bytes can hold."""
    encoded = _data_url(data)
    seconds: float = _UNKNOWN_VIDEO_SECONDS
    if encoded is not None:
        told = _mp4_seconds(encoded)
        most = encoded.size / _LEAST_VIDEO_BYTES_PER_SECOND
        seconds = most if told is None else told
    formula = image_formula(provider, model)
    if isinstance(formula, GeminiLevels):
        frame = formula.frame
    else:
        frame = TILES.low_frame if detail == "low" else TILES.frame
    return math.ceil(min(seconds, _LONGEST_SECONDS) * (frame + SOUND))


_MOST_BOXES = 64


def _mp4_seconds(encoded: _Encoded) -> float | None:
    """Duration of an MP4, MOV or M4A from its movie header (ISO 14496-12, 8.2.2): boxes before it are skipped."""
    if encoded.read(4, 4) != b"ftyp":
        return None
    at, inside = 0, encoded.size
    for _ in range(_MOST_BOXES):
        head = encoded.read(at, 48)
        if len(head) < 48 or at >= inside:
            return None
        size, kind = _big(head[:4]), head[4:8]
        start = at + 8
        if size == 1:
            size, start = _big(head[8:16]), at + 16
        if kind == b"mvhd":
            long = head[8] == 1
            rate = _big(head[28:32] if long else head[20:24])
            length = _big(head[32:40] if long else head[24:28])
            return length / rate if rate and length < 2**32 - 1 else None
        if kind == b"moov":
            at = start
        elif size < 8:
            return None
        else:
            at += size
    return None


# ----------------------------------------------------------------------------------------------------------- the rest

_BYTES_PER_TOKEN = 3
"""Of text that nobody tokenises: fewer than prose has, so that it counts rather too much."""


def other_tokens(data: str) -> int:
    """Guess what a part of an unknown type counts: as text, as long as it is."""
    return -(-len(data.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def is_estimate(kind: str, data: str) -> bool:
    """Tell whether the count of a part rests on a guess: what it holds is not here, or nobody knows how it is read."""
    if kind == "other":
        return True
    return kind != "image" and (not data or _is_address(data))


def _is_address(data: str) -> bool:
    return data[:8].lower().startswith(("http://", "https://", "gs://", "s3://"))
