"""Who may import whom: model and power stand alone, runtime knows power, export knows model and runtime."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("model", "power", "runtime", "export")
# What each package may import of ours at module level, besides the root's own modules.
ALLOWED = {"model": set(), "power": set(), "runtime": {"power"}, "export": {"model", "runtime"}}
# Commands may do more, but only when they run.
ALLOWED_IN_FUNCTIONS = {**ALLOWED, "runtime": {"power", "model"}}
ROOT_MODULES = {"commands", "errors", "files", "lazy", "version"}
HEAVY = {"torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "matplotlib"}
HEAVY |= {"cuda", "pycuda", "pynvml", "jinja2"}


def modules_of(package: str) -> list[Path]:
    """What is installed: scripts beside the C++ library are no part of the package."""
    return [path for path in sorted((ROOT / package).rglob("*.py")) if "cpp" not in path.relative_to(ROOT).parts]


MODULES = [path for package in PACKAGES for path in modules_of(package)]


def imports(path: Path, root: Path = ROOT) -> list[tuple[str, bool]]:
    """Absolute dotted names that the file imports, and whether the statement stands at module level."""
    tree = ast.parse(path.read_text())
    at_top = {id(node) for node in tree.body}
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            at_top -= {id(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in at_top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                found.append((node.module or "", id(node) in at_top))
                continue
            base = ["espnet_edge", *path.relative_to(root).parent.parts]
            base = base[: len(base) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(".".join([*base, name]), id(node) in at_top) for name in names]
    return found


def of_ours(name: str) -> list[str]:
    parts = name.split(".")
    return parts[1:] if parts[0] == "espnet_edge" else []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name, at_top in imports(path):
        ours = of_ours(name)
        if not ours or ours[0] == package or ours[0] in ROOT_MODULES:
            continue
        allowed = (ALLOWED if at_top else ALLOWED_IN_FUNCTIONS)[package]
        assert ours[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nobody_imports_a_command(path: Path) -> None:
    for name, _ in imports(path):
        ours = of_ours(name)
        assert not (len(ours) > 1 and ours[1].startswith("cli")), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_of_ours_are_relative(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != "espnet_edge"


@pytest.mark.parametrize("package", ["runtime", "power"])
def test_device_packages_start_light(package: str) -> None:
    for path in modules_of(package):
        # A runner's own module is imported only when that runner is opened.
        if path.name.endswith("_runner.py"):
            continue
        heavy = [name for name, at_top in imports(path) if at_top and name.split(".")[0] in HEAVY]
        assert not heavy, f"{path} imports {heavy} when it is imported"


def test_the_check_sees_a_wrong_arrow(tmp_path: Path) -> None:
    path = tmp_path / "model" / "wrong.py"
    path.parent.mkdir()
    path.write_text("from ..export.job import export\ndef f():\n    from ..runtime import manifest\n")
    assert imports(path, tmp_path) == [("espnet_edge.export.job", True), ("espnet_edge.runtime", False)]
