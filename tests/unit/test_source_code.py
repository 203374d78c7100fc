"""Which code a script depends on: found by its imports, so that it cannot be forgotten."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capsynth.fingerprints import file_digest
from capsynth.source_code import code_of, write_code_digests

SCRIPTS = Path("workflow/scripts")


def test_imports_are_followed_through_modules_and_functions(tmp_path: Path) -> None:
    package = tmp_path / "capsynth"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__", "a", "b", "unused", "inner/__init__", "inner/c"):
        (package / f"{name}.py").write_text("")
    (package / "a.py").write_text("def f():\n    from capsynth.inner import c\n")
    script = tmp_path / "s.py"
    script.write_text("import os\nfrom capsynth import a\nimport capsynth.b\n")
    names = [p.relative_to(package).as_posix() for p in code_of(script, tmp_path)]
    assert names == ["__init__.py", "a.py", "b.py", "inner/__init__.py", "inner/c.py"]


@pytest.mark.parametrize("name", ["pack_real", "caption_images", "generate_images"])
def test_what_python_loads_is_what_is_listed(repository: Path, name: str) -> None:
    root = repository / SCRIPTS
    listed = {p.relative_to(root) for p in code_of(root / f"{name}.py", root)}
    load = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import {name};"
        "print('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.startswith('capsynth')))"
    )
    out = subprocess.run([sys.executable, "-c", load], check=True, capture_output=True, text=True)
    loaded = {Path(line).relative_to(root) for line in out.stdout.splitlines()}
    assert loaded <= listed


def test_each_state_of_the_code_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = []
    for name in ("first", "second"):  # one process remembers the digest of a path
        script = tmp_path / name / "s.py"
        script.parent.mkdir()
        script.write_text(f"{name} = 1\n")
        written.append(write_code_digests(script, script.parent))
    digests = [json.loads(path.read_text())["s.py"] for path in written]
    assert digests == [file_digest(tmp_path / name / "s.py") for name in ("first", "second")]
