"""Images, by Pillow: pixels; comments, times and programs that an image names are metadata."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, metadata
from runbook.model.artifact import Part, short

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Those that trainings write; Pillow reads many more, which nobody looks after as closely."""
_PIXELS = 40_000_000
_FRAMES = 1000
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")


class ImageFormat:
    """Size and mode, then pixels: how many, how far, in which box."""

    name = "image"
    modules = ("PIL", "numpy")

    def claims(self, path: str, head: bytes) -> int:
        """By its magic bytes."""
        webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
        known = head.startswith(_MAGIC) or webp
        ending = path.endswith((".ppm", ".pgm", ".pbm")) and head[:1] == b"P"
        return interface.CONTENT if known or ending else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Frame by frame; most images have one."""
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = _PIXELS
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(a, formats=_FORMATS) as one, Image.open(b, formats=_FORMATS) as other:
                    return _compare(one, other)
            except (Image.DecompressionBombError, Image.DecompressionBombWarning):
                raise Unreadable(f"an image of more than {_PIXELS // 1_000_000} million pixels") from None
            except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
                if isinstance(error, Unreadable):
                    raise
                raise Unreadable(f"not to be read as an image ({short(str(error))})") from None


def _compare(a: Any, b: Any) -> Found:
    frames = getattr(a, "n_frames", 1), getattr(b, "n_frames", 1)
    parts = Parts("image" if frames == (1, 1) else "frame")
    parts.of = max(frames)
    if frames[0] != frames[1]:
        parts.add(Part(name="frames", note=f"{frames[0]} became {frames[1]}"))
    if max(frames) > _FRAMES:
        raise Unreadable(f"an image of more than {_FRAMES:,} frames")
    for number in range(min(frames)):
        if number:
            a.seek(number)
            b.seek(number)
        part = _frame(a, b, "pixels" if frames == (1, 1) else f"frame {number}")
        if part is not None:
            parts.add(part)
    parts.remarks += metadata(_said(a), _said(b))
    return parts.found()


def _said(image: Any) -> dict[str, Any]:
    """What an image says of itself: format, texts, resolution, EXIF."""
    exif = {f"EXIF {tag}": value for tag, value in image.getexif().items()}
    return {"format": image.format} | {str(key): value for key, value in image.info.items()} | exif


def _frame(a: Any, b: Any, name: str) -> Part | None:
    import numpy as np

    from runbook.artifacts.values.numbers import measure

    if a.size != b.size:
        return Part(name=name, note=f"{a.size[0]}x{a.size[1]} became {b.size[0]}x{b.size[1]}")
    note = f"mode {a.mode} became {b.mode}" if a.mode != b.mode else ""
    if note or a.mode in ("P", "PA", "1"):  # A palette may stand in another order and give the same picture.
        a, b = a.convert("RGBA"), b.convert("RGBA")
    x, y = (np.asarray(image) for image in (a, b))
    height, width = x.shape[:2]
    # Bands of rows: what is computed of a whole image would take many times its memory.
    band = max(1, (1 << 20) // max(1, width))
    count, total, box, first = 0, 0.0, None, None
    largest: Any = 0
    values = ("", "")
    for top in range(0, height, band):
        p, q = (np.ascontiguousarray(v[top : top + band]).reshape(-1, width, x[0, 0].size) for v in (x, y))
        tally = measure(p.reshape(-1), q.reshape(-1))
        if not tally.differing:
            continue
        mask = ((p != q) & ~(np.isnan(p) & np.isnan(q))).any(axis=2)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        here = (int(columns[0]), top + int(rows[0]), int(columns[-1]), top + int(rows[-1]))
        box = here if box is None else (min(box[0], here[0]), box[1], max(box[2], here[2]), here[3])
        if first is None:
            row, column = divmod(int(mask.reshape(-1).argmax()), width)
            first = (column, top + row)
            values = _pixel(p[row, column]), _pixel(q[row, column])
        count += int(np.count_nonzero(mask))
        total += tally.total
        largest = max(largest, tally.largest or 0)
    if box is None:
        return Part(name=name, note=note) if note else None
    inside = f"within x {box[0]}-{box[2]}, y {box[1]}-{box[3]}"
    return Part(
        name=name,
        note="; ".join(filter(None, (note, inside))),
        where=f"x {first[0]}, y {first[1]}" if first else "",
        original=values[0],
        replay=values[1],
        differing=count,
        of=width * height,
        largest=largest,
        mean=total / x.size,
    )


def _pixel(value: Any) -> str:
    numbers = [str(v) for v in value.tolist()]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"


MEMBER = ImageFormat()
