"""What is too large is told before memory is spent on it, and nothing leaves its archive."""

import bz2
import gzip
import io
import os
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

import matgen
from matgen.structures import archives, csv_pieces, pieces, size_limits
from matgen.structures.cif import cif_text
from matgen.structures.files import Entry, read_structures
from matgen.structures.size_limits import MB


def salt() -> str:
    return cif_text(Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))


def frames(n: int) -> str:
    frame = '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties=species:S:1:pos:R:3 pbc="T T T"\nCs 0 0 0\nCl 2 2 2.{}\n'
    return "".join(frame.format(index) for index in range(n))


def read_all(path: Path) -> dict[str, Entry]:
    return {entry.name.partition("/")[2] or entry.name: entry for entry in read_structures([path])}


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, str | bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2")])
def test_a_tar_is_read_like_a_zip(tmp_path: Path, suffix: str, mode: str) -> None:
    files: dict[str, str | bytes] = {
        "set/a.cif": salt(),
        "set/b.cif.gz": gzip.compress(salt().encode()),
        "many.extxyz": frames(3),
        "notes.txt": "passed over",
        "inner.zip": b"PK",
    }
    whole = read_all(tarred(tmp_path / f"all.{suffix}", files, mode))
    other = read_all(zipped(tmp_path / "all.zip", files))
    assert whole.keys() == other.keys()
    assert set(whole) == {"set/a.cif", "set/b.cif.gz", "many.extxyz#0", "many.extxyz#1", "many.extxyz#2", "inner.zip"}
    for name, entry in whole.items():
        assert entry.structure == other[name].structure
        assert (entry.structure is None) == (name == "inner.zip")


def test_a_folder_with_a_tar_holds_its_structures(tmp_path: Path) -> None:
    tarred(tmp_path / "all.tar.gz", {"a.cif": salt()})
    (entry,) = read_structures([tmp_path])
    assert entry.name == f"{tmp_path.name}/all.tar.gz/a.cif"
    assert entry.structure is not None


def test_a_damaged_tar_is_a_reason(tmp_path: Path) -> None:
    data = tarred(tmp_path / "all.tar.gz", {f"{i}.cif": salt() for i in range(9)}).read_bytes()
    for number, cut in enumerate((0, 5, len(data) // 2)):
        path = tmp_path / f"cut{number}.tar.gz"
        path.write_bytes(data[:cut])
        entries = list(read_structures([path]))
        assert entries[-1].error, cut
    (tmp_path / "no.tar").write_text("no tar at all", encoding="utf-8")
    (entry,) = read_structures([tmp_path / "no.tar"])
    assert entry.error.startswith("damaged tar:")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["../a.cif", "/etc/a.cif", "x/../../a.cif", "C:\\a.cif", "..\\a.cif"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out_of_the_archive(
    tmp_path: Path, name: str, pack: Callable[[Path, dict[str, str | bytes]], Path]
) -> None:
    path = pack(tmp_path / ("all.zip" if pack is zipped else "all.tar.gz"), {name: salt(), "b.cif": salt()})
    entries = list(read_structures([path]))
    errors = sorted(entry.error for entry in entries)
    assert errors == ["", "its name leads out of the archive"]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_links_and_devices_in_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name, kind in (("a.cif", tarfile.SYMTYPE), ("b.cif", tarfile.LNKTYPE), ("c.cif", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    errors = [entry.error for entry in read_structures([tmp_path / "all.tar"])]
    assert [error.partition(";")[0] for error in errors] == ["a link", "a link", "a device"]
    link = zipfile.ZipInfo("a.cif")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (entry,) = read_structures([tmp_path / "all.zip"])
    assert entry.error.startswith("a link")


def test_limits_on_size_ratio_count_and_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With limits so low that small files meet them."""
    monkeypatch.setattr(size_limits, "LARGEST_UNPACKED", 100_000)
    monkeypatch.setattr(size_limits, "LARGEST_FILE", 200_000)
    monkeypatch.setattr(size_limits, "SMALL", 10_000)
    monkeypatch.setattr(size_limits, "LARGEST_RATIO", 50)
    monkeypatch.setattr(size_limits, "LARGEST_PIECE", 50_000)
    monkeypatch.setattr(pieces, "LARGEST_PIECE", 50_000)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 9)
    random = salt() + "# " + os.urandom(60_000).hex()
    padded = salt() + "#" * 90_000
    content: dict[str, str | bytes] = {
        "a_good.cif": salt(),
        "b_large.cif": random,
        "c_bomb.cif": padded,
        "d_large.cif.gz": gzip.compress(random.encode()),
        "e_bomb.cif.gz": gzip.compress(padded.encode()),
        "f_twice.cif.gz.gz": gzip.compress(gzip.compress(salt().encode())),
        "z_good.cif": salt(),
    }
    expected = {
        "a_good.cif": "",
        "b_large.cif": "MB, and not more than 0.1 MB are read",
        "c_bomb.cif": "not more than 50-fold is unpacked",
        "d_large.cif.gz": "not more than 0.1 MB are read",
        "e_bomb.cif.gz": "not more than 50-fold is unpacked",
        "z_good.cif": "",
    }
    for path in (zipped(tmp_path / "all.zip", content), tarred(tmp_path / "all.tar", content, "w")):
        found = read_all(path)
        reasons = expected | ({"c_bomb.cif": ""} if path.suffix == ".tar" else {})  # which is not packed there
        assert found.keys() == reasons.keys()
        for name, entry in found.items():
            assert (reasons[name] in entry.error) if reasons[name] else entry.structure is not None, (path, name)
    for name in ("d_large.cif.gz", "e_bomb.cif.gz"):
        (tmp_path / name).write_bytes(bytes(content[name]))  # type: ignore[arg-type]
        (entry,) = read_structures([tmp_path / name])
        assert expected[name] in entry.error
    (tmp_path / "plain.cif").write_text(salt() + "#" * 200_000, encoding="utf-8")
    (entry,) = read_structures([tmp_path / "plain.cif"])
    assert "not more than 0.2 MB are read; split it" in entry.error
    for path in (
        zipped(tmp_path / "many.zip", {f"{i}.cif": salt() for i in range(10)}),
        tarred(tmp_path / "many.tar.gz", {f"{i}.cif": salt() for i in range(10)}),
    ):
        entries = list(read_structures([path]))
        assert "10 files in one archive, and not more than 9 are read" in entries[-1].error
    bomb = tarred(tmp_path / "bomb.tar.gz", {"a.cif": salt(), "b.cif": "#" * 30_000_000})
    monkeypatch.setattr(size_limits, "LARGEST_UNPACKED", 100 * MB)
    assert "50-fold" in list(read_structures([bomb]))[-1].error


def test_files_read_structure_by_structure_have_a_limit_on_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_limits, "LARGEST_PIECE", 5_000)
    monkeypatch.setattr(pieces, "LARGEST_PIECE", 5_000)
    monkeypatch.setattr(csv_pieces, "LARGEST_PIECE", 5_000)
    monkeypatch.setattr(pieces, "MOST_ATOMS", 100)
    (tmp_path / "a.extxyz").write_text(frames(500), encoding="utf-8")
    assert all(entry.structure for entry in read_structures([tmp_path / "a.extxyz"]))
    (tmp_path / "b.extxyz").write_text(frames(2) + "2000\n" + "C 0 0 0\n" * 2001, encoding="utf-8")
    assert "2,000 atoms; not more than 100" in list(read_structures([tmp_path / "b.extxyz"]))[-1].error
    (tmp_path / "c.jsonl").write_text('{"a": 1}\n{"b": "' + "x" * 2_000_000 + '"}\n', encoding="utf-8")
    assert "a line of more than" in list(read_structures([tmp_path / "c.jsonl"]))[-1].error
    (tmp_path / "d.sdf").write_text("a line\n" * 9000, encoding="utf-8")
    assert "split it" in list(read_structures([tmp_path / "d.sdf"], None))[-1].error
    (tmp_path / "e.csv").write_text('id,cif\n1,"' + "an unclosed quote\n" * 9000, encoding="utf-8")
    assert "field larger than" in list(read_structures([tmp_path / "e.csv"]))[-1].error


def test_a_header_of_a_tar_that_never_ends(tmp_path: Path) -> None:
    """A name of 3 GB, which its reader would take into memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3_000_000_000
    with bz2.open(tmp_path / "all.tar.bz2", "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.write(b"\0" * 10_000_000)
    (entry,) = read_structures([tmp_path / "all.tar.bz2"])
    assert "a header of 3,000 MB" in entry.error


def test_a_zip_that_tells_of_too_many_files_is_refused_before_its_list_is_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", {"a.cif": salt()})
    data = path.read_bytes()
    at = data.rfind(b"PK\5\6")
    for number, (count, length) in enumerate(((1, 0x7FFFFFFF), (0xFFFF, 0xFFFFFFFF))):
        end = data[: at + 10] + struct.pack("<HL", count, length) + data[at + 16 :]
        if count == 0xFFFF:  # the number stands in a record of its own
            record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**9, 10**9, 46, 0)
            locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
            end = data[:at] + record + locator + end[at:]
        (tmp_path / f"{number}.zip").write_bytes(end)
        (entry,) = read_structures([tmp_path / f"{number}.zip"])
        assert "files in one archive, and not more than 200,000 are read" in entry.error


PROGRAM = """
import resource, sys
from pathlib import Path
from matgen.structures.files import read_structures

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for entry in read_structures([Path(sys.argv[1])]):
    print(entry.error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", ["a.zip", "a.cif.gz", "a.json.gz"])
def test_a_bomb_takes_no_memory(tmp_path: Path, name: str) -> None:
    """300 MB in one member: the process grows by a fraction of that."""
    if name.endswith(".zip"):
        with (
            zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("bomb.cif", "w", force_zip64=True) as stream,
        ):
            for _ in range(300):
                stream.write(b" " * MB)
    else:
        with gzip.open(tmp_path / name, "wb") as stream:
            for _ in range(300):
                stream.write(b" " * MB)
    environment = os.environ | {"PYTHONPATH": str(Path(matgen.__file__).parents[1])}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)
    reason, grown = done.stdout.splitlines()
    assert "MB" in reason
    assert int(grown) < 100


# ---------------------------------------------------------------- what is no file


def test_pipes_sockets_and_devices_in_a_folder_are_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.cif")
    os.mkfifo(tmp_path / "b.zip")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "c.json"))
    (tmp_path / "d.cif").symlink_to("/dev/zero")
    (tmp_path / "e.cif").symlink_to("e.cif")
    (tmp_path / "f.cif").write_text(salt(), encoding="utf-8")
    with server:
        found = read_all(tmp_path)
    told = {name: entry.error.partition(",")[0] for name, entry in found.items()}
    told["e.cif"] = told["e.cif"].partition(":")[0]
    assert told == {
        "a.cif": "a named pipe",
        "b.zip": "a named pipe",
        "c.json": "a socket",
        "d.cif": "a device",
        "e.cif": "cannot be read",
        "f.cif": "",
    }
    (entry,) = read_structures([tmp_path / "a.cif"])
    assert entry.error.startswith("a named pipe, not a file")


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["deflate", "bzip2", "lzma"]
)
def test_a_damaged_member_costs_its_own_row(method: int, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.cif", salt())
        start = archive.fp.tell() if archive.fp else 0
        archive.writestr("b.cif", salt() + "# " + os.urandom(4000).hex())
        end = archive.fp.tell() if archive.fp else 0
    data = bytearray(path.read_bytes())
    data[start + 60 : end - 10] = bytes(255 - one for one in data[start + 60 : end - 10])
    path.write_bytes(data)
    (tmp_path / "c.cif").write_text(salt(), encoding="utf-8")
    entries = list(read_structures([tmp_path]))
    assert [entry.name.rpartition("/")[2] for entry in entries] == ["a.cif", "b.cif", "c.cif"]
    assert [bool(entry.error) for entry in entries] == [False, True, False]
