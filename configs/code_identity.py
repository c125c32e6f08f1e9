"""The identity of the code that makes a result: a hash of modules and of all our modules that they import.

Imports are read from the source; nothing is executed. Imports inside functions count, and so do all modules
of a package that imports them by listing itself (`models.families`). A module that is not imported, such as a
new reader, report or command, does not change the hash. Neither do comments, docstrings and formatting.
`configs`, modules of settings (`config.py`) and fields that are declared with `configs.schema.key` are left
out: their values reach the code as settings, and settings are compared by value.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from configs.plugins import loaded_plugins

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data_prep", "models", "evaluation", "infer", "train")
SETTINGS = "config"  # so end the names of modules that hold settings


def code_identity(entries: tuple[str, ...], left_out: tuple[str, ...] = (), root: Path = ROOT) -> str:
    """The hash of the modules `entries` (dotted names: `data_prep.video.frames`) and of all that they import.

    `left_out` are modules that do not affect results, such as those that report. Modules that only these
    import are left out too. All loaded plugins are included, because none of our modules imports them.
    """
    return hash_of_modules(entries, left_out, root, loaded_plugins())


@lru_cache
def hash_of_modules(
    entries: tuple[str, ...], left_out: tuple[str, ...], root: Path, plugins: tuple[Path, ...]
) -> str:
    """What `code_identity` returns, for the plugins that are named. The sources are read once."""
    digest = hashlib.sha256()
    # The syntax tree is hashed and not the text, so that comments and formatting do not count.
    for path in plugins:
        digest.update(
            f"{path.stem}\n{ast.dump(_without_docstrings(ast.parse(path.read_bytes())))}\n".encode()
        )
    # Sorted, so that the order in which the imports were found does not count.
    for name, tree in sorted(_closure(entries, left_out, root).items()):
        digest.update(f"{name}\n{ast.dump(_without_docstrings(tree))}\n".encode())
    # 16 hexadecimal digits are 64 bits, enough to tell the versions of the code apart.
    return digest.hexdigest()[:16]


def modules_of(entries: tuple[str, ...], left_out: tuple[str, ...] = (), root: Path = ROOT) -> list[str]:
    """The sorted names of the modules that `code_identity` covers."""
    return sorted(_closure(entries, left_out, root))


def _closure(entries: Sequence[str], left_out: Collection[str], root: Path) -> dict[str, ast.Module]:
    """The syntax trees of modules and of all modules that they import, by name."""
    # A depth-first walk over the graph of imports.
    trees: dict[str, ast.Module] = {}
    open_names = list(entries)
    while open_names:
        name = open_names.pop()
        path = _path_of(name, root)
        if name in trees or name in left_out or path is None:
            continue
        trees[name] = tree = ast.parse(path.read_bytes(), str(path))
        # Importing a module also runs the `__init__.py` of its package.
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        open_names += [package, *_imported(tree, package)]
        # A package that lists itself imports modules by names that the source does not contain.
        if path.name == "__init__.py" and _lists_its_modules(tree):
            open_names += [f"{name}.{module.stem}" for module in sorted(path.parent.glob("*.py"))]
    return trees


def _path_of(name: str, root: Path) -> Path | None:
    """The source file of one of our modules. None for other names, and for modules of settings."""
    parts = name.split(".")
    if parts[0] not in PACKAGES or parts[-1].endswith(SETTINGS):
        return None
    path = root.joinpath(*parts)
    # `from data_prep.files import read_text` names a function too, for which there is no file.
    found = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((each for each in found if each.is_file()), None)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield every name in the imports of a module of `package` that may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from ..x import y`: each dot after the first goes up one package. `y` may be a module or not.
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _lists_its_modules(tree: ast.Module) -> bool:
    """Whether a package imports all of its modules by listing them (`pkgutil.iter_modules`)."""
    return any(isinstance(node, ast.Attribute) and node.attr == "iter_modules" for node in ast.walk(tree))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree without docstrings, texts that document attributes and keys of settings. Changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not (_is_text(each) or _is_key(each))] or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_key(node: ast.stmt) -> bool:
    """Whether a statement is a field of settings: `threshold: float = key(0.5, "...")`."""
    return (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "key"
    )
