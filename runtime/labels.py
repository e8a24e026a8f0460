"""Class names: from the manifest, from a file, or for ImageNet from an installed torchvision."""

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import InputError
from .manifest import Manifest

_MAX_LABELS_BYTES = 1 << 20
_FORMATS = 'one name per line, a JSON list, or a JSON object {"0": "tench", ...}'


def class_names(manifest: Manifest, labels_file: Path | None) -> list[str] | None:
    """The name of every class in order, or None where nobody knows them.

    The manifest's own names come first, then `labels_file`, then for ImageNet the names that an installed torchvision
    carries. A file that is given is checked even where the manifest has names, so that a mistake does not stay hidden.

    Raises:
        InputError: `labels_file` cannot be read, or does not hold exactly one name for each class.
    """
    from_file = None if labels_file is None else _read_names(labels_file, manifest.num_classes)
    if manifest.classes:
        return [info.name for info in manifest.classes]
    if from_file is not None:
        return from_file
    names = _torchvision_names() if manifest.dataset == "imagenet" else None
    return names if names is not None and len(names) == manifest.num_classes else None


def _read_names(path: Path, num_classes: int) -> list[str]:
    names = _parsed(_read_text(path), path)
    if len(names) != num_classes:
        raise InputError(f"{path}: {len(names)} names, the network has {num_classes} classes; give one name for each")
    cleaned = [_one_line(name) for name in names]
    if "" in cleaned:
        raise InputError(f"{path}: the name of class {cleaned.index('')} is empty; give one name for each class")
    return cleaned


def _one_line(name: str) -> str:
    """The name without line breaks and control characters, which would garble a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; --labels takes a file with {_FORMATS}")
    if (size := path.stat().st_size) > _MAX_LABELS_BYTES:
        raise InputError(f"{path}: {size} bytes, a file of class names has at most {_MAX_LABELS_BYTES}")
    try:
        # "utf-8-sig" also reads files that begin with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from None


def _parsed(text: str, path: Path) -> list[str]:
    if not text.lstrip().startswith(("[", "{")):
        return text.rstrip().splitlines()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); --labels takes {_FORMATS}") from None
    names = _in_order(content, path) if isinstance(content, dict) else content
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: a name that is not a text; --labels takes {_FORMATS}")
    return names


def _in_order(content: dict[str, Any], path: Path) -> list[Any]:
    keys = [str(index) for index in range(len(content))]
    if missing := [key for key in keys if key not in content]:
        raise InputError(f"{path}: {len(content)} names, but none for class {missing[0]}; number them from 0 on")
    return [content[key] for key in keys]


def _torchvision_names() -> list[str] | None:
    """The list `_IMAGENET_CATEGORIES` in torchvision's `models/_meta.py`, or None where there is no such list of 1000.

    The file is read, not imported: importing torchvision fails beside a torch of another build.
    """
    package = importlib.util.find_spec("torchvision")
    for folder in (package.submodule_search_locations if package else None) or ():
        file = Path(folder) / "models" / "_meta.py"
        if file.is_file():
            return _imagenet_categories(file.read_text(encoding="utf-8"))
    return None


def _imagenet_categories(source: str) -> list[str] | None:
    for node in ast.parse(source).body:
        if not _is_list(node):
            continue
        if "_IMAGENET_CATEGORIES" in [target.id for target in node.targets if isinstance(target, ast.Name)]:
            value: list[str] = ast.literal_eval(node.value)
            return value if len(value) == 1000 else None
    return None


def _is_list(node: ast.stmt) -> TypeGuard[ast.Assign]:
    """Whether the statement gives a name to a list of plain texts."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.List)
        and all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in node.value.elts)
    )
