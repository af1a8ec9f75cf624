"""The layers of the package: a module imports only from lower layers, and each library only where it belongs."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = (  # lowest first; a module may import what is in the layers below its own
    {
        "residae.arrays",
        "residae.errors",
        "residae.geometry",
        "residae.quality",
        "residae.progress",
        "residae.malloc",
        "residae.examples",
        "residae.distributed",
    },
    {"residae.files", "residae.resample", "residae.rate_model", "residae.options"},
    {"residae.rate_control"},
    {"residae.image.picture", "residae.image.refusals", "residae.image.confinement"},
    {"residae.image.planes", "residae.image.exif", "residae.image.boxes", "residae.image.color"},
    {"residae.image.raster"},
    {"residae.image.bmp", "residae.image.gif", "residae.image.jp2", "residae.image.jpeg", "residae.image.png"},
    {"residae.image.avif", "residae.image.tiff", "residae.image.webp"},
    {"residae.image.formats"},
    {"residae.image", "residae.metrics", "residae.heatmaps"},
    {"residae.charts", "residae.image.process", "residae.baselines", "residae.codec.tables"},
    {"residae.codec.rae", "residae.codec.context", "residae.codec.quantizer", "residae.encoder_process"},
    {"residae.codec.coder"},
    {"residae.codec.codec"},
    {"residae.codec"},
    {"residae.weights"},
    {"residae.model"},
    {"residae.checkpoint", "residae.summary", "residae.engine.tiles", "residae.engine.onednn"},
    {"residae.runtimes"},
    {"residae.engine.precision", "residae.engine.blocks"},
    {"residae.engine.stages"},
    {"residae.engine.engine", "residae.engine.gradient"},
    {"residae.engine"},
    {"residae.refine"},
    {"residae.pipeline"},
    {"residae.activations", "residae.edit", "residae.compare"},
    {"residae.results"},
    {"residae"},  # the package itself hands out the three calls that most people need
    {"residae.evaluate", "residae.deploy", "residae.bench", "residae.train"},
    {"residae.train.recipe", "residae.train.batchnorm", "residae.train.state"},
    {"residae.train.data", "residae.train.optimizer"},
    {"residae.train.tables", "residae.train.validation"},
    {"residae.train.records"},
    {"residae.train.rate"},
    {"residae.train.training"},
    {"residae.train.loop"},
    {"residae.train.__main__"},
    {"residae.ui", "residae.ui.static", "residae.ui.tabs"},
    {"residae.ui.mcp", "residae.ui.theme", "residae.ui.turns", "residae.ui.text", "residae.ui.environment"},
    {"residae.ui.budget", "residae.ui.sessions", "residae.ui.stream"},
    {"residae.ui.zero_gpu"},
    {"residae.ui.store"},
    {"residae.ui.work"},
    {"residae.ui.guard"},
    {"residae.ui.cache", "residae.ui.viewer", "residae.ui.previews"},
    {"residae.ui.components", "residae.ui.state"},
    {"residae.ui.actions", "residae.ui.refinement", "residae.ui.maps"},
    {"residae.ui.controls"},
    {"residae.ui.tabs.overview", "residae.ui.tabs.lab", "residae.ui.tabs.equal_bytes", "residae.ui.tabs.files"},
    {"residae.ui.tabs.batch", "residae.ui.tabs.model", "residae.ui.endpoints"},
    {"residae.ui.page"},
    {"residae.ui.server"},
    {"residae.ui.launch"},
    {"residae.cli.arguments", "residae.cli.exit_codes"},
    {"residae.cli.conversion", "residae.cli.encoding"},
    {"residae.cli.explore", "residae.cli.files", "residae.cli.make", "residae.cli.measure", "residae.cli.serve"},
    {"residae.cli", "app"},
    {"residae.__main__"},
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

PLACES = {  # the modules or packages of ours that may import a library; Gradio only in ui, no torch in the codec
    "PIL": ("residae.image", "residae.baselines", "residae.pipeline", "residae.resample", "residae.__init__"),
    "torch": (
        "residae.model",
        "residae.summary",
        "residae.weights",
        "residae.engine",
        "residae.rate_model",
        "residae.distributed",
        "residae.refine",
        "residae.pipeline",
        "residae.activations",
        "residae.train",
        "residae.bench",
        "residae.runtimes",
    ),
    "imagecodecs": ("residae.image", "residae.baselines"),
    "tifffile": ("residae.image",),
    "numpy": ("residae",),  # but the page: see below
    "constriction": ("residae.codec.coder",),
    "ssimulacra2": ("residae.metrics",),
    "huggingface_hub": ("residae.weights", "residae.deploy"),
    "safetensors": ("residae.weights", "residae.train.state"),
    "accelerate": ("residae.distributed", "residae.train"),
    "argparse": ("residae.cli", "residae.train.__main__"),
    "tqdm": ("residae.cli", "residae.evaluate"),  # not in training, which runs with few libraries
    "openvino": ("residae.runtimes",),
    "nncf": ("residae.runtimes",),
    "onnxruntime": ("residae.runtimes",),
    "gradio": ("residae.ui",),
    "spaces": ("residae.ui.server", "residae.ui.zero_gpu"),
    "pickle": (),
}


def _modules() -> dict[str, Path]:
    """The file of each module of the project by the module's name."""
    modules = {}
    for path in sorted((ROOT / "residae").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    return modules | {"app": ROOT / "app.py"}


MODULES = _modules()


@functools.cache
def _imports(path: Path) -> set[str]:
    """The dotted names of all modules that the file imports, also within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else str(node.module))
    return names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_lower_layers_only(module: str) -> None:
    assert module in RANK, "a new module needs its place in LAYERS"
    ours = {name for name in _imports(MODULES[module]) if name.split(".")[0] in ("residae", "app")}
    assert {name for name in ours if RANK[name] >= RANK[module]} == set()


@pytest.mark.parametrize("library", PLACES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in {i.split(".")[0] for i in _imports(path)}}
    users = {f"{user}.__init__" if user == "residae" else user for user in users}  # as a place, it means all modules
    assert {
        user for user in users if not f"{user}.".startswith(tuple(f"{place}." for place in PLACES[library]))
    } == set()


def test_a_type_of_arrays_is_defined_once() -> None:
    names = [
        ast.unparse(target)
        for path in MODULES.values()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("NDArray[")
        for target in node.targets
    ]
    assert {"Pixels", "Plane", "Latent", "Floats"} <= set(names)
    assert sorted(names) == sorted(set(names))


def test_the_page_computes_nothing() -> None:
    page = {name: path for name, path in MODULES.items() if f"{name}.".startswith(("app.", "residae.ui."))}
    assert len(page) > 2
    used = {(name, i) for name, path in page.items() for i in _imports(path)}
    assert {(name, i) for name, i in used if i.split(".")[0] in ("torch", "numpy", "PIL")} == set()


def test_imports_are_found_in_functions_too(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import PIL.Image\nfrom residae import image, __version__\n"
        "def f():\n    from residae.pipeline import Pipeline\n    import numpy as np\n"
    )
    assert _imports(tmp_path / "module.py") == {"PIL.Image", "residae.image", "residae", "residae.pipeline", "numpy"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {name.rsplit(".", 1)[-1] for name in MODULES} & {"utils", "util", "helpers", "common", "misc"}


def test_the_top_level_holds_nothing_else() -> None:
    allowed = {
        "app.py",
        "requirements.txt",
        "README.md",
        "residae",
        "checkpoints",
        "tests",
        "LICENSE",
        "pyproject.toml",
    }
    here = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__pycache__"))}
    assert here - allowed == set()


def test_importing_does_nothing(tmp_path: Path) -> None:
    """Importing creates no file, prints nothing and opens no connection, also with an empty home folder."""
    page = ("app", "residae.ui")  # importing Gradio has effects of its own
    modules = [name for name in MODULES if not name.startswith(page) and not name.endswith("__main__")]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "import socket; socket.socket.connect = socket.getaddrinfo = None\n"
    code += "".join(f"import {name}\n" for name in modules)
    environment = os.environ | {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hub"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_private_names_of_torch_are_in_one_file() -> None:
    private = re.compile(r"\btorch\.(ops\b|([a-z]+\.)*_[a-z])|\bfrom torch[\w.]* import _")
    users = {name for name, path in MODULES.items() if private.search(path.read_text(encoding="utf-8"))}
    assert users == {"residae.engine.onednn"}


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of the arguments, as they are written, without those by which a method is bound."""
    given = function.args
    every = (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg)
    return [argument.arg for argument in every if argument and argument.arg not in ("self", "cls")]


def _wrong_arguments(source: str, fewest: int) -> list[str]:
    """Public functions and methods whose `Args:` are not their arguments.

    With fewer than `fewest` arguments, the summary may say it all. A method without a docstring in a class with a base
    has that of the base, and torch.nn.Module documents `forward`.
    """
    wrong = []

    def visit(body: list[ast.stmt], prefix: str, has_base: bool) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{prefix}{node.name}.", bool(node.bases))
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            names, docstring = _arguments(node), ast.get_docstring(node)
            if node.name == "forward" or (docstring is None and has_base):
                continue
            section = re.search(r"^Args:\n((?:    .*(?:\n|$))+)", docstring or "", re.MULTILINE)
            documented = re.findall(r"^    \*{0,2}(\w+): ", section[1], re.MULTILINE) if section else []
            if documented != names and (section or len(names) >= fewest):
                wrong.append(f"{prefix}{node.name}")

    visit(ast.parse(source).body, "", False)
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_say_what_the_arguments_are(module: str) -> None:
    fewest = 2 if module.startswith(("residae.ui", "residae.cli")) else 1
    assert _wrong_arguments(MODULES[module].read_text(encoding="utf-8"), fewest) == []


def test_wrong_arguments_are_found() -> None:
    docstring = '''"""Do it.

    Args:
        a: One.
            The line goes on: it is long.
        **b: Two.

    Returns:
        c: C.
    """'''
    functions = {
        "right": f"(a, **b):\n    {docstring}",
        "renamed": f"(c, **b):\n    {docstring}",
        "added": f"(a, c, **b):\n    {docstring}",
        "silent": '(a, b):\n    """Do it."""',
        "bare": "(a, b):\n    pass",
        "single": '(a):\n    """Do it."""',
        "_private": "(a, b):\n    pass",
    }
    source = "\n".join(f"def {name}{rest}" for name, rest in functions.items())
    assert _wrong_arguments(source, 2) == ["renamed", "added", "silent", "bare"]
    assert _wrong_arguments(source, 1) == ["renamed", "added", "silent", "bare", "single"]


def test_methods_have_the_arguments_of_their_base() -> None:
    methods = "    def f(self, a): pass\n    def forward(self, x): pass\n"
    assert _wrong_arguments(f"class A:\n{methods}class B(A):\n{methods}", 1) == ["A.f"]
