"""What images, audio and files count, by the published formulas."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.media import (
    audio_tokens,
    file_tokens,
    image_formula,
    image_tokens,
    is_estimate,
    tokens_of_size,
    video_tokens,
)
from gateway.budget.pdf import MOST_PAGES, pages

FAMILIES = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5-nano"),
    ("openai", "gpt-5.5"),
    ("openai", "o3"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-4-7"),
    ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-3-pro"),
    ("openai", "some-vision-model"),
]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"IDAT" * 20


def jpeg(width: int, height: int, exif: int = 0, marker: int = 0xC0) -> bytes:
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", min(size, 65000) + 2) + b"\0" * min(size, 65000) for size in cut(exif)
    )
    tables = b"\xff\xdb" + struct.pack(">H", 67) + b"\0" * 65
    frame = b"\xff" + bytes([marker]) + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9
    return b"\xff\xd8" + segments + tables + b"\xff" + frame + b"\xff\xda" + b"\0" * 100


def cut(size: int) -> list[int]:
    return [65000] * (size // 65000) + ([size % 65000] if size % 65000 else [])


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0" * 40


def webp_lossy(width: int, height: int) -> bytes:
    body = (
        b"VP8 " + struct.pack("<I", 50) + b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\0" * 40
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_lossless(width: int, height: int) -> bytes:
    body = b"VP8L" + struct.pack("<I", 50) + b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14) + b"\0" * 40
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_extended(width: int, height: int) -> bytes:
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + sides + b"\0" * 40
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


# ---------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        # The examples of OpenAI's guide.
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4.1-mini", (1024, 1024), "high", 1659),  # 1024 patches by 1.62
        ("gpt-4.1-mini", (1800, 2400), "high", 2353),  # 1452 patches
        ("gpt-4o", (512, 512), "auto", 255),
        ("gpt-4o-mini", (512, 512), "auto", 2833 + 5667),
        ("gpt-4.1", (4096, 3072), "high", 85 + 4 * 170),
        ("gpt-5", (1024, 1024), "high", 70 + 4 * 140),
        ("gpt-5-chat-latest", (1024, 1024), "low", 70),
        ("o1", (1024, 1024), "high", 75 + 4 * 150),
        ("o4-mini", (320, 320), "low", 172),  # detail changes nothing for these
        ("gpt-5-nano", (320, 320), "high", 246),
        # What was billed (see the sources), less the text around it.
        ("gpt-5.5", (1024, 1024), "auto", 1229),
        ("gpt-5.5", (1920, 1080), "auto", 2448),
        ("gpt-5.5", (2560, 1440), "auto", 4320),
        ("gpt-5.5", (4032, 3024), "auto", 11868),
        ("gpt-6", (2560, 1440), "high", 2931),
        ("gpt-6", (4032, 3024), "auto", 14364),
        ("gpt-5.4-mini", (1600, 1600), "high", 3000),
        ("claude-haiku-4-5", (1024, 1024), "auto", 1434 - 65),
        ("claude-haiku-4-5", (1920, 1080), "auto", 1625 - 65),
        ("claude-3-5-sonnet-20241022", (256, 256), "auto", 100),
        ("claude-opus-4-7", (1920, 1080), "auto", 2691),
        ("us.anthropic.claude-sonnet-5-v1:0", (1280, 720), "auto", 1273 - 77),
        # Google's examples.
        ("gemini-2.5-flash", (384, 384), "auto", 258),
        ("gemini-2.5-flash", (960, 540), "auto", 6 * 258),
        ("gemini-3-pro", (4032, 3024), "auto", 1120),
        ("gemini-3-pro", (4032, 3024), "low", 280),
    ],
)
def test_an_image_counts_what_its_model_makes_of_it(
    model: str, size: tuple[int, int], detail: str, tokens: int
) -> None:
    assert image_tokens("any", model, data_url(png(*size)), detail) == tokens


@pytest.mark.parametrize(
    ("model", "high_resolution"),
    [
        ("claude-opus-4-1-20250805", False),
        ("claude-sonnet-4-20250514", False),
        ("anthropic.claude-sonnet-4-20250514-v1:0", False),
        ("claude-haiku-4-5@20251001", False),
        ("claude-sonnet-4.6", False),
        ("claude-opus-4-7", True),
        ("claude-sonnet-5", True),
        ("claude-next", True),
    ],
)
def test_claude_sees_more_from_4_7_on(model: str, high_resolution: bool) -> None:
    tokens = image_tokens("anthropic", model, "https://example.com/cat.png", None)
    assert tokens == (4784 if high_resolution else 1568)


def test_the_makers_formula_holds_behind_a_router_and_in_a_fine_tune() -> None:
    url = data_url(png(1024, 1024))
    direct = image_tokens("openai", "gpt-4o", url, "high")
    assert image_tokens("openrouter", "openai/gpt-4o", url, "high") == direct
    assert image_tokens("openai", "ft:gpt-4o-2024-08-06:acme::8xyz", url, "high") == direct


@pytest.mark.parametrize(("provider", "model"), FAMILIES)
@given(
    width=st.integers(1, 8000) | st.sampled_from([1, 384, 512, 768, 1568, 2048, 65535]),
    height=st.integers(1, 8000),
    detail=st.sampled_from(["low", "high", "auto", "original", "unheard of"]),
)
def test_an_unknown_size_never_counts_less_than_a_known_one(
    provider: str, model: str, width: int, height: int, detail: str
) -> None:
    formula = image_formula(provider, model)
    known = tokens_of_size(formula, (width, height), detail)
    assert 0 < known <= tokens_of_size(formula, None, detail)


@pytest.mark.parametrize(("provider", "model"), FAMILIES)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_an_image_on_its_side_always_counts_the_same(provider: str, model: str, width: int, height: int) -> None:
    formula = image_formula(provider, model)
    assert tokens_of_size(formula, (width, height), "high") == tokens_of_size(formula, (height, width), "high")


# ------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    "image",
    [
        png(1000, 700),
        gif(1000, 700),
        jpeg(1000, 700),
        jpeg(1000, 700, marker=0xC2),
        jpeg(1000, 700, exif=300_000),
        webp_lossy(1000, 700),
        webp_lossless(1000, 700),
        webp_extended(1000, 700),
    ],
    ids=[
        "png",
        "gif",
        "jpeg",
        "progressive jpeg",
        "jpeg behind 300 kB of metadata",
        "webp",
        "lossless webp",
        "extended webp",
    ],
)
def test_the_size_is_read_from_the_header(image: bytes) -> None:
    expected = 36 * 25  # patches of 28 pixels
    assert image_tokens("anthropic", "claude-opus-4-7", data_url(image), None) == expected
    url_safe = data_url(image).replace("+", "-").replace("/", "_").replace("image_png", "image/png")
    assert image_tokens("anthropic", "claude-opus-4-7", url_safe.rstrip("="), None) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png",
        "",
        "data:",
        "data:image/png;base64,",
        "data:image/png;base64,%%%%",
        "data:image/svg+xml,<svg/>",
        data_url(b"\x89PNG\r\n\x1a\n"),
        data_url(png(0, 10)),
        data_url(b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5000),
        data_url(b"\xff\xd8\xff\xda" + b"\0" * 50),
        data_url(b"plain text, no image at all, long enough"),
    ],
)
def test_what_cannot_be_read_counts_the_most(url: str) -> None:
    assert image_tokens("anthropic", "claude-opus-4-7", url, None) == 4784
    assert image_tokens("openai", "gpt-4o", url, "high") == 85 + 8 * 170


@given(
    head=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8 ", b"ID3", b"%PDF-"]
    ),
    data=st.binary(),
)
def test_no_bytes_ever_break_the_reading(head: bytes, data: bytes) -> None:
    url = data_url(head + data)
    for provider, model in FAMILIES:
        assert image_tokens(provider, model, url, None) > 0
        assert audio_tokens(provider, model, url.partition(",")[2], None) >= 0
        assert file_tokens(provider, model, url) >= 0


@given(text=st.text())
def test_no_text_ever_breaks_the_reading(text: str) -> None:
    assert image_tokens("openai", "gpt-4o", text, text) > 0
    assert image_tokens("openai", "gpt-4o", "data:image/png;base64," + text, text) > 0
    assert audio_tokens("openai", "gpt-4o-audio-preview", text, text) >= 0
    assert file_tokens("openai", "gpt-4o", text) >= 0


# ------------------------------------------------------------------------------------------------------------- audio


def wav(seconds: float, rate: int = 16_000, told: int | None = None) -> bytes:
    samples = b"\0" * round(seconds * rate * 2)
    size = len(samples) if told is None else told
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36)
        + b"WAVE"
        + b"LIST\x04\0\0\0abcd"
        + form
        + b"data"
        + struct.pack("<I", size)
        + samples
    )


def mp3(seconds: float, frames: int | None = None, tag: int = 0) -> bytes:
    size = round(seconds * 128_000 / 8)
    id3 = b"ID3\x04\0\0" + bytes([0, 0, tag >> 7, tag & 0x7F]) + b"\0" * tag if tag else b""
    xing = b"" if frames is None else b"\0" * 32 + b"Xing" + struct.pack(">II", 1, frames)
    return id3 + (b"\xff\xfb\x90\x64" + xing).ljust(size, b"\0")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("provider", "model", "per_second"),
    [
        ("openai", "gpt-4o-audio-preview", 10),
        ("gemini", "gemini-2.5-flash", 32),
        ("mistral", "voxtral-small", 12.5),
        ("elsewhere", "unheard-of", 32),
    ],
)
def test_audio_counts_by_the_second(provider: str, model: str, per_second: float) -> None:
    assert audio_tokens(provider, model, encoded(wav(60)), "wav") == pytest.approx(60 * per_second, abs=2)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (wav(30), 30),
        (wav(30, rate=48_000), 30),
        (wav(30, told=0xFFFFFFFF), 30),
        (mp3(30), 30),
        (mp3(30, tag=5000), 30),
        (mp3(30, frames=round(300 * 44_100 / 1152)), 300),
    ],
    ids=["wav", "wav at 48 kHz", "wav that was streamed", "mp3", "mp3 behind a tag", "mp3 of variable rate"],
)
def test_the_duration_is_read_from_the_header(data: bytes, seconds: float) -> None:
    assert audio_tokens("openai", "gpt-4o-audio-preview", encoded(data), None) == pytest.approx(seconds * 10, abs=2)


def test_audio_without_a_header_counts_the_longest_it_can_be() -> None:
    assert audio_tokens("openai", "gpt-4o-audio-preview", encoded(b"\0" * 8000), "g711_ulaw") == 10
    assert audio_tokens("openai", "gpt-4o-audio-preview", encoded(b"\0" * 8000), "opus") == 80
    assert audio_tokens("openai", "gpt-4o-audio-preview", "", "wav") == 0


# ------------------------------------------------------------------------------------------------------------- files


def pdf(pages: int, padding: int = 0) -> bytes:
    tree = b"1 0 obj <</Type /Pages /Kids [] /Count %d>> endobj\n" % pages
    return b"%PDF-1.7\n" + b"\0" * padding + tree + b"trailer <<>>\n%%EOF"


def test_a_pdf_counts_by_its_pages() -> None:
    one = file_tokens("anthropic", "claude-haiku-4-5", data_url(pdf(1), "application/pdf"))
    assert 3000 < one <= 3000 + 1568
    assert file_tokens("anthropic", "claude-haiku-4-5", encoded(pdf(40, padding=2_000_000))) == 40 * one
    assert file_tokens("gemini", "gemini-2.5-pro", encoded(pdf(40))) == 40 * 258
    assert file_tokens("gemini", "gemini-3-pro", encoded(pdf(40))) == 40 * 560


def test_any_other_file_counts_its_bytes() -> None:
    assert file_tokens("openai", "gpt-4o", data_url(b"a,b,c\n" * 100, "text/csv")) == 600


def compressed_pdf(pages: int, padding: int = 0) -> bytes:
    """Write a PDF as new ones are: the page tree in object streams, the table of objects in a stream too."""
    leaves = b"".join(b"<</Type/Page/Parent 2 0 R/Annots[<</Count 9999>>]>> " for _ in range(pages))
    tree = b"<</Kids[" + b"5 0 R " * pages + b"]/Count %d/Type/Pages/Resources<</Font<<>>>>>> " % pages
    outlines = b"<</Type/Outlines/Count 5000>> <</N 7000>> "
    held = [zlib.compress(said) for said in (outlines + tree, leaves)]
    streams = [
        b"%d 0 obj<</Type/ObjStm/N 85/First 600/Length %d>>stream\r\n%s\nendstream endobj\n" % (number, len(data), data)
        for number, data in enumerate(held, 9)
    ]
    picture = (
        b"7 0 obj<</Type/XObject>>stream\n"
        + b"<</Type/Pages/Count 8888>>" * 9
        + b"\0" * padding
        + b"endstream endobj\n"
    )
    table = b"8 0 obj<</Type/XRef/W[1 3 1]/Size 100>>stream\nxyz\nendstream endobj startxref 17 %%EOF"
    return b"%PDF-1.7\n%\xd0\xd4\n" + picture + b"".join(streams) + table


@pytest.mark.parametrize("padding", [0, 9_000_000])
def test_a_pdf_with_a_compressed_page_tree_counts_by_its_pages_too(padding: int) -> None:
    one = file_tokens("anthropic", "claude-haiku-4-5", data_url(pdf(1), "application/pdf"))
    assert file_tokens("anthropic", "claude-haiku-4-5", encoded(compressed_pdf(10, padding))) == 10 * one


def test_a_pdf_without_a_count_counts_the_pages_it_shows() -> None:
    assert pages([b"%PDF-1.4 3 0 obj <</Type /Page>> endobj 4 0 obj <</Type/Page >> endobj"]) == 2


def test_no_pdf_has_more_pages_than_a_provider_takes() -> None:
    assert pages([pdf(999_999)]) == MOST_PAGES


def test_what_a_pdf_inflates_to_is_bounded() -> None:
    bomb = zlib.compress(b"<</Type/Page>>" * 4_000_000, 9)
    stream = b"1 0 obj <</Type/ObjStm>> stream\n" + bomb + b" endstream endobj "
    assert pages([b"%PDF-1.7 " + stream * 90]) == MOST_PAGES


@pytest.mark.parametrize(
    "piece",
    [
        b"<<",
        b">>",
        b"1 0 obj <</Type /ObjStm>> stream\n",
        b"obj ",
        b"/Count ",
        b"/Type",
        b"/Count 1111111 ",
        b"\0",
        b" ",
    ],
)
def test_a_pdf_made_to_be_slow_is_read_once_and_in_bounds(piece: bytes) -> None:
    assert pages([b"%PDF-1.7 " + piece * (8_000_000 // len(piece))]) is None


def test_a_pdf_that_does_not_tell_its_pages_counts_as_many_as_its_size_may_be() -> None:
    assert file_tokens("openai", "gpt-4o", encoded(b"%PDF-1.7\n" + b"\0" * 991)) == 1000
    one = file_tokens("openai", "gpt-4o", encoded(pdf(1)))
    assert file_tokens("openai", "gpt-4o", encoded(b"%PDF-1.7\n" + b"\0" * 299_991)) == 30 * one


def test_a_file_that_the_provider_holds_counts_a_guess() -> None:
    assert file_tokens("openai", "gpt-4o", "") == 10_000
    assert file_tokens("openai", "gpt-4o", "https://x.example/a.pdf") == 10_000


def test_a_declared_size_says_more_than_a_guess() -> None:
    one = file_tokens("openai", "gpt-4o", encoded(pdf(1)))
    assert file_tokens("openai", "gpt-4o", "", 70_000, "a.pdf") == 7 * one
    assert file_tokens("openai", "gpt-4o", "", 400, "a.csv") == 400


# ------------------------------------------------------------------------------------------------------------- video


def mp4(seconds: int, *, wide: bool = False) -> bytes:
    length = (
        struct.pack(">IQQIQ", 1 << 24, 0, 0, 600, seconds * 600)
        if wide
        else struct.pack(">IIIII", 0, 0, 0, 600, seconds * 600)
    )
    header = box(b"mvhd", length + b"\0" * 80)
    return box(b"ftyp", b"isom" * 4) + box(b"free", b"\0" * 99) + box(b"moov", header) + box(b"mdat", b"\0" * 500)


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


@pytest.mark.parametrize("wide", [False, True])
def test_a_video_counts_by_the_seconds_in_its_header(wide: bool) -> None:
    url = data_url(mp4(90, wide=wide), "video/mp4")
    assert video_tokens("gemini", "gemini-2.5-pro", url) == 90 * 290
    assert video_tokens("gemini", "gemini-2.5-pro", url, "low") == 90 * 98
    assert video_tokens("gemini", "gemini-3-pro", url) == 90 * 102


def test_a_video_elsewhere_counts_a_minute_and_one_without_a_header_by_its_bytes() -> None:
    assert video_tokens("gemini", "gemini-2.5-pro", "https://x.example/a.mp4") == 60 * 290
    assert video_tokens("gemini", "gemini-2.5-pro", data_url(b"\0" * 250_000, "video/webm")) == 10 * 290


def test_sound_in_an_mp4_counts_by_its_header() -> None:
    assert audio_tokens("gemini", "gemini-2.5-flash", encoded(mp4(30)), "m4a") == 30 * 32
    assert audio_tokens("gemini", "gemini-2.5-flash", "https://x.example/a.mp3", None) == 60 * 32


def test_what_rests_on_a_guess_is_told() -> None:
    assert [is_estimate("file", ""), is_estimate("video", "https://x.example/a"), is_estimate("other", "{}")] == [
        True
    ] * 3
    held = [("image", "https://x.example/a.png"), ("file", encoded(pdf(1))), ("audio", encoded(wav(1)))]
    assert not any(is_estimate(*one) for one in held)


HEADS = st.sampled_from(
    [b"%PDF-1.7 ", b"RIFF\0\0\0\0WAVEfmt ", b"ID3\4\0\0\1\1\1\1", b"\xff\xfb\x90\x64", mp4(3)[:60], mp4(3)[:180]]
)


@given(HEADS, st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_as_media_are_always_counted_and_within_bounds(head: bytes, data: bytes, times: int) -> None:
    raw = head + data * times
    for provider, model in (("openai", "gpt-5"), ("gemini", "gemini-2.5-pro"), ("anthropic", "claude-sonnet-5")):
        page = file_tokens(provider, model, encoded(pdf(1)))
        assert 0 <= file_tokens(provider, model, encoded(raw)) <= max(len(raw), MOST_PAGES * page)
        assert 0 <= audio_tokens(provider, model, encoded(raw), "mp3") <= 24 * 3600 * 32
        assert 0 <= video_tokens(provider, model, data_url(raw, "video/mp4")) <= 24 * 3600 * 290
