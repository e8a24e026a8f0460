"""The shared library gives out its interface and nothing else."""

import ctypes
import re
import subprocess
from pathlib import Path

from espnet_edge.version import __version__

HEADER = Path(__file__).resolve().parents[3] / "runtime/cpp/include/espnet/espnet.h"


def exported_symbols(library: Path) -> list[str]:
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--demangle", library], capture_output=True, text=True, check=True
    )
    return [line.split(maxsplit=2)[2] for line in listed.stdout.splitlines()]


def test_library_and_package_have_one_version(cpp_library: ctypes.CDLL) -> None:
    cpp_library.espnet_version.restype = ctypes.c_char_p
    assert cpp_library.espnet_version().decode() == __version__


def test_every_function_of_the_c_header_is_in_the_library(cpp_library: ctypes.CDLL) -> None:
    functions = re.findall(r"ESPNET_API\s[^;]*?\b(espnet_\w+)\(", HEADER.read_text())
    assert len(functions) == HEADER.read_text().count("ESPNET_API") > 0
    missing = [name for name in functions if not hasattr(cpp_library, name)]
    assert missing == []


def test_nothing_but_the_interface_is_visible(cpp_build: Path) -> None:
    node = f"ESPNET_{__version__.rpartition('.')[0]}"
    symbols = exported_symbols(cpp_build / "libespnet_runtime.so")
    assert node in symbols
    symbols.remove(node)
    assert [name for name in symbols if not name.endswith(f"@@{node}")] == []
    ours = re.compile(r"^(espnet_|espnet::|(typeinfo|typeinfo name|vtable|VTT) for espnet::)")
    leaked = [name for name in symbols if not ours.match(name)]
    assert leaked == []
