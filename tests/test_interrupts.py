"""Files are whole whatever interrupts their writing, and signals end a program where nothing is half done."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from matgen.runtime.interrupts import SIGNALS, interrupts_held_back, signals_as_interrupts
from matgen.runtime.memory import out_of_memory
from matgen.runtime.output import OutputError, append, replace_file, replacing, writing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    replace_file(path, "old\n")

    def cut_short() -> None:
        with replacing(path) as stream:
            stream.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert path.read_text(encoding="utf-8") == "old\n"
    replace_file(path, "new\r\nλ\n")
    assert path.read_bytes() == "new\r\nλ\n".encode(), "line ends are kept"
    assert [one.name for one in tmp_path.iterdir()] == ["table.csv"], "no part is left behind"


def test_what_does_not_fit_is_not_appended_in_part(tmp_path: Path) -> None:
    """A limit on the size of files writes as much as fits, as a full disk does."""
    path = tmp_path / "lines.jsonl"
    path.write_text("first\n", encoding="utf-8")
    program = (
        "import resource, sys; from pathlib import Path; from matgen.runtime.output import append\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "append(Path(sys.argv[1]), 2000 * 'x')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert path.read_text(encoding="utf-8") == "first\n"
    append(path, "second\n")
    assert path.read_text(encoding="utf-8") == "first\nsecond\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_says_so() -> None:
    path = Path("/dev/full")
    with pytest.raises(OutputError, match=r"cannot write to /dev/full: No space left"), writing(path):
        append(path, "line\n")


def test_want_of_memory_is_recognised_however_it_is_told() -> None:
    """By NumPy, PyTorch and the system itself, each as it says so when memory is limited; other errors are not."""
    program = (
        "import resource, sys, numpy, torch; from matgen.runtime.memory import out_of_memory\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "most = pages * resource.getpagesize() + 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "makers = (lambda: bytearray(2**30), lambda: numpy.ones(2**30), lambda: torch.ones(2**30))\n"
        "for make in makers:\n"
        "    try: make()\n"
        "    except Exception as error: print(out_of_memory(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"] * 3, done.stderr
    assert not out_of_memory(RuntimeError("sizes of tensors differ"))
    assert not out_of_memory(OSError(2, "No such file"))


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGHUP ends a program unless it was started by nohup, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_that_ends_a_program_is_an_interrupt(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts() as came:
        os.kill(os.getpid(), number)
    assert came == [number]
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts() as came:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_after_the_first_signal_only_ctrl_c_disturbs_the_end() -> None:
    with signals_as_interrupts() as came:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert came == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_an_interrupt_waits_for_the_end_of_what_must_be_whole() -> None:
    done = []

    def work() -> None:
        with interrupts_held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("whole")
        done.append("more")

    with signals_as_interrupts(), pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]
