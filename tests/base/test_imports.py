"""Imports go down only, heavy libraries stay where they belong, and dangerous calls are nowhere."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    {"interface", "deployments"},
    {"flows"},
    {"tasks"},
    {"datasets_pipeline", "training"},
    {"evaluation"},
    {"ingot"},
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
PACKAGES = sorted(LEVEL)


@dataclass(frozen=True)
class Found:
    """Something in a source file that a rule is about."""

    where: str
    what: str


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module, those inside functions and behind importlib too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}: write the whole name"
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and name_of(node.func).endswith("import_module") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def name_of(node: ast.AST) -> str:
    """`torch.load` of the expression that spells it; a call in between is left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return "?"


def wrong_imports(where: str, tree: ast.Module) -> list[Found]:
    package = Path(where).parts[0]
    found = []
    for line, module in imports(tree):
        other = module.split(".")[0]
        if other == package or other not in LEVEL:
            continue
        # Of one layer, only the two doors know each other: the command line starts the local stack.
        beside = LEVEL[other] == LEVEL[package] and LEVEL[package] != 0
        if LEVEL[other] < LEVEL[package] or beside:
            found.append(Found(f"{where}:{line}", f"{package} imports {module}"))
    return found


def library_imports(where: str, tree: ast.Module, libraries: set[str]) -> list[Found]:
    return [Found(f"{where}:{line}", module) for line, module in imports(tree) if module.split(".")[0] in libraries]


def dangerous_calls(where: str, tree: ast.Module) -> list[Found]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        last = name.rsplit(".", 1)[-1]
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib") and last in ("load", "loads", "Unpickler"):
            found.append(Found(f"{where}:{node.lineno}", name))
        if name in ("torch.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "eval", "exec"):
            found.append(Found(f"{where}:{node.lineno}", name))
        if name in ("yaml.load", "yaml.load_all") and not _is_safe(options.get("Loader")):
            found.append(Found(f"{where}:{node.lineno}", f"{name} with {ast.dump(node)[-60:]}"))
        for option in ("shell", "trust_remote_code", "allow_pickle"):
            value = options.get(option)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                found.append(Found(f"{where}:{node.lineno}", f"{name}({option}=...)"))
    return found


def _is_safe(loader: ast.expr | None) -> bool:
    """SafeLoader, or the one of ours that derives from it (ingot/config.py)."""
    if isinstance(loader, ast.Call):
        return name_of(loader.func) == "_loader"
    return loader is not None and name_of(loader).rsplit(".", 1)[-1] in ("SafeLoader", "CSafeLoader")


def test_the_walk_sees_every_package() -> None:
    seen = {Path(where).parts[0] for where, _ in sources()}
    assert seen == set(PACKAGES)
    assert sum(1 for _ in sources("ingot")) > 20


def test_imports_go_down_only_and_data_and_training_do_not_know_each_other() -> None:
    assert [found for where, tree in sources() for found in wrong_imports(where, tree)] == []


@pytest.mark.parametrize(
    ("libraries", "allowed"),
    [
        # The second runs inside MLflow's own server: the door before it.
        ({"mlflow"}, ("ingot/track", "deployments/mlflow_app.py")),
        ({"dask", "distributed"}, ("datasets_pipeline/parallel.py",)),
        ({"prefect"}, ("flows/", "tasks/", "deployments/", "interface/")),
    ],
    ids=["mlflow", "dask", "prefect"],
)
def test_a_library_is_imported_only_where_it_belongs(libraries: set[str], allowed: tuple[str, ...]) -> None:
    found = [item for where, tree in sources() for item in library_imports(where, tree, libraries)]
    assert [item for item in found if not item.where.startswith(allowed)] == []
    assert found, "nobody imports it any more: drop the rule"


def test_nothing_unpickles_runs_a_shell_or_trusts_foreign_code() -> None:
    assert [found for where, tree in sources() for found in dangerous_calls(where, tree)] == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("ingot/x.py", "def f():\n    from training.launch import run"),
        ("datasets_pipeline/x.py", "import training.models"),
        ("training/x.py", "from datasets_pipeline import tokens"),
        ("evaluation/x.py", "import training"),
        ("tasks/x.py", "import importlib\nimportlib.import_module('flows.build_model')"),
    ],
)
def test_a_planted_wrong_import_is_found(where: str, code: str) -> None:
    assert len(wrong_imports(where, ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(b'')", "import torch\ntorch.load('x')", "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)", "subprocess.run('ls', shell=True)", "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "np.load('x', allow_pickle=True)", "eval('1')",
    ],
)  # fmt: skip
def test_a_planted_dangerous_call_is_found(code: str) -> None:
    assert len(dangerous_calls("x.py", ast.parse(code))) == 1


def loaded_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


HEAVY = {"prefect", "mlflow", "torch", "dask", "distributed", "transformers", "s3fs", "numba", "pandas", "tokenizers"}


@pytest.mark.parametrize(
    "statement",
    [
        "import ingot.lineage, ingot.verify, ingot.ledger",
        "import ingot.tracking, ingot.promotion, ingot.settings",
        "from ingot.config import recipe_json_schema; from ingot.recipe_files import load_recipe; load_recipe('demo')",
    ],
)
def test_answers_and_recipes_need_no_heavy_library(statement: str) -> None:
    assert loaded_after(statement) & HEAVY == set()


def test_heavy_libraries_would_have_been_seen() -> None:
    assert "numpy" in loaded_after("import ingot.lineage, numpy")
