"""Files as a full disk, a broken line, another program or an enemy leaves them; seeded, bounded.

And the contract that every reader keeps: what was written, or one sentence; nothing else changes.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import signal
from pathlib import Path

from interp import cli
from interp.core.errors import InputError, RunError

NOT_JSON = (
    b"", b"{", b"[1, 2", b'{"a": 1}}', b"\xff\xfe", b"\x00" * 100, b"[" * 100_000,
    b'{"a":' * 50_000, b"[" * 90 + b"]" * 90, b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": 1, "a": 2}', b"\x89PNG\r\n", b"\xef\xbb\xbf\xef\xbb\xbf{}", b"<html>",
)  # fmt: skip
ODD = (None, True, -1, 0, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "\ud800", "a\x00b",
       "x" * 5_000, "../../x", "/etc/passwd", [], [1], [[1]], {}, {"a": 1}, ["\ud800"])  # fmt: skip
HOSTILE_NAMES = ("<img src=x onerror=alert(1)>", 'a & b\'s "c"', "{{ 7 * 7 }}", "x\u202ey", "con")
# Whatever looks as if a run had ended well.
WHOLE = ("report.html", "index.html", "findings.json", "claims.csv", "comparison.json",
         "index.json", "*.parquet", "*.safetensors", "verify.json", "published.csv")  # fmt: skip


def broken(content, n, seed=0, reach=None):
    """`n` versions of a file: cut off, bytes changed, a part lost or doubled, something put in."""
    draw = random.Random(seed)
    reach = min(len(content), reach or len(content))
    for number in range(n):
        at, end = sorted(draw.randrange(reach + 1) for _ in range(2))
        kind = number % 5
        if kind == 0:
            yield content[:at]
        elif kind == 1:
            changed = bytearray(content)
            for _ in range(draw.randint(1, 4)):
                changed[draw.randrange(reach)] = draw.randrange(256)
            yield bytes(changed)
        elif kind == 2:
            yield content[:at] + content[min(end, at + 40) :]
        elif kind == 3:
            yield content[:end] + content[at:]
        else:
            put = draw.choice((b"\x00", b"\r", b'"', b"9" * 5_000, b"[" * 2_000, b"\xff", b"NaN"))
            yield content[:at] + put + content[at:]


def changed_values(value, n, seed=0):
    """`n` versions of a JSON value in which one place holds something else, or is missing."""
    draw, places = random.Random(seed), list(_places(value))
    for _ in range(n):
        place = draw.choice(places)
        if place and draw.random() < 0.1:
            yield _changed(value, place, _GONE)
        else:
            yield _changed(value, place, draw.choice(ODD))


_GONE = object()


def _places(value, place=()):
    yield place
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in list(inner)[:12]:
            yield from _places(entry, (*place, key))


def _changed(value, place, odd):
    if not place:
        return odd
    value = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1 and odd is _GONE:
        del value[place[0]]
    else:
        value[place[0]] = _changed(value[place[0]], place[1:], odd)
    return value


def as_json(value):
    return json.dumps(value).encode()


# ----------------------------------------------------------------------------- the contract


def refused(call):
    """The one sentence with which a call is refused; None if it went through.

    Any other error is one that nobody thought of, and ends the test.
    """
    try:
        call()
    except (InputError, RunError) as error:
        sentence = str(error)
        assert sentence.strip()
        assert "\n" not in sentence
        assert len(sentence) < 1_500, sentence[:300]
        return sentence
    return None


def refused_by_command(capsys, *words):
    """The one sentence of a command that ends with 1 or 2."""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    err = capsys.readouterr().err
    assert code in (1, 2), (code, err)
    assert err.startswith("interp: error: "), err
    assert err.count("\n") == 1, err
    for telltale in ("Traceback", "unexpected "):  # `unexpected X:` is an unforeseen exception
        assert telltale not in err, err
    return err


@contextlib.contextmanager
def untouched(folder):
    """Nothing in a folder changes, is added or goes."""
    before = contents(folder)
    yield
    assert contents(folder) == before


def contents(folder):
    """What lies in a folder: hashes of files, targets of links."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = os.readlink(path)
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = digest
        else:
            found[str(path.relative_to(folder))] = "folder"
    return found


def looks_whole(out):
    """Files of a folder that look as if a run had ended well, or that it left behind half done."""
    out = Path(out)
    held = [path for name in WHOLE for path in out.rglob(name)]
    return held + [p for p in out.rglob(".*") if p.name.startswith(".") and p.name != ".gitignore"]


@contextlib.contextmanager
def full_disk(n_bytes):
    """No file can grow beyond so many bytes, whoever writes it: Python, Rust or C++."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def no_files(folder):
    """Things that are no file and may never end, by what they are."""
    folder = Path(folder)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "nowhere").symlink_to(folder / "gone")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "endless").symlink_to("/dev/zero")
    return [folder / name for name in ("folder", "pipe", "nowhere", "circle", "endless", "none")]
