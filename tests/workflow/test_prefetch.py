"""Models and data sets from a hub on this machine: fetched, pinned, fetched again, read offline."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
import yaml
from safetensors.torch import load_file

from capsynth.files import read_json, write_json

FIRST, SECOND = (hashlib.sha1(word).hexdigest() for word in (b"first", b"second"))
SECRET = "hf_secretsecretsecret"
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickle"}
Files = dict[str, bytes]


@dataclass
class Hub:
    """The repositories of a loopback hub.

    Attributes:
        url: Its address.
        commits: Files by kind and id, then commit; the last commit is the main branch.
        gated: Ids that want a token.
        spoilt: Paths that are served with other bytes than were announced.
        tokens: What requests had as ``Authorization``.
        paths: What was asked for.
    """

    url: str = ""
    commits: dict[tuple[str, str], dict[str, Files]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    spoilt: set[str] = field(default_factory=set)
    tokens: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def add(self, name: str, files: Files, commit: str = FIRST, kind: str = "models") -> None:
        """Commit ``files`` to the main branch of a repository."""
        self.commits.setdefault((kind, name), {})[commit] = files


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".parquet"))


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tree_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    if is_large(path):
        sha256 = hashlib.sha256(data).hexdigest()
        lfs = {"oid": sha256, "size": len(data), "pointerSize": 130}
        return {**entry, "oid": "0" * 40, "lfs": lfs}
    return {**entry, "oid": git_id(data)}


API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?$")
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def files(self, kind: str, name: str, revision: str | None) -> tuple[str, Files] | None:
            """The commit and files of a revision; answers by itself if there are none."""
            if name in hub.gated and not self.headers.get("Authorization"):
                self.answer(401, b"{}", X_Error_Code="GatedRepo")
                return None
            commits = hub.commits.get((kind, name))
            if commits is None:
                self.answer(404, b"{}", X_Error_Code="RepoNotFound")
                return None
            commit = list(commits)[-1] if revision in (None, "main") else str(revision)
            if commit not in commits:
                self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
                return None
            return commit, commits[commit]

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.paths.append(path)
            hub.tokens.append(self.headers.get("Authorization"))
            if match := API.match(path):
                kind, name, view, revision = match.groups()
                if found := self.files(kind, name, revision):
                    commit, files = found
                    info = {"id": name, "sha": commit, "siblings": [], "cardData": {"license": "x"}}
                    tree = [tree_entry(*item) for item in files.items()]
                    value: Any = tree if view == "tree" else info
                    self.answer(200, json.dumps(value).encode(), Content_Type="application/json")
            elif match := RESOLVE.match(path):
                data_set, name, revision, file = match.groups()
                if found := self.files("datasets" if data_set else "models", name, revision):
                    commit, files = found
                    data = files[file]
                    tag = hashlib.sha256(data).hexdigest() if is_large(file) else git_id(data)
                    body = data[::-1] if file in hub.spoilt else data
                    self.answer(200, body, ETag=f'"{tag}"', X_Repo_Commit=commit)
            else:
                self.answer(404, b"{}", X_Error_Code="EntryNotFound")

        do_HEAD = do_GET

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with nothing on it."""
    state = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield state
        http.shutdown()


def environment(hub: Hub, home: Path, **changes: str) -> dict[str, str]:
    """The environment of a user who has set nothing, but whose hub is the loopback one."""
    dropped = ("HF_", "TRANSFORMERS_", "SNAKEMAKE", "CAPSYNTH_", "HUGGING")
    tools = Path(sys.executable).parent
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(dropped)},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "127.0.0.1",
        **changes,
    }


Done = subprocess.CompletedProcess[str]
Fetch = Callable[..., Done]


@pytest.fixture
def fetch(hub: Hub, repository: Path, tmp_path: Path) -> Fetch:
    """``fetch(id, revision=None, **environment)`` runs the command line of a download."""

    def run(
        name: str,
        revision: str | None = None,
        files: tuple[str, ...] = (),
        kind: str = "model",
        **changes: str,
    ) -> Done:
        request = {"id": name, "kind": kind, "revision": revision, "files": files}
        script = repository / "workflow" / "scripts" / "download_model.py"
        stamp = tmp_path / f"{kind}s" / f"{name.replace('/', '--')}.json"
        stamp.unlink(missing_ok=True)  # as Snakemake does before it runs a job
        return subprocess.run(
            [
                *(sys.executable, str(script), "--request", json.dumps(request)),
                *("--lock", str(tmp_path / "lock.json"), "--output", str(stamp)),
            ],
            env=environment(hub, tmp_path / "home", **changes),
            capture_output=True,
            text=True,
        )

    return run


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_model_is_fetched_without_pickles_and_its_commit_and_checksums_recorded(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.add("a/model", MODEL)
    done = fetch("a/model", HF_HUB_OFFLINE="1")  # an order to fetch is one to go online
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "a--model"
    wanted = {name: data for name, data in MODEL.items() if name != "pytorch_model.bin"}
    assert contents(folder) == wanted
    stamp = read_json(folder.with_suffix(".json"))
    assert stamp["revision"] == FIRST
    assert stamp["license"] == "x"
    assert {name: file["sha256"] for name, file in stamp["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()
    }
    assert not any("pytorch_model.bin" in path for path in hub.paths)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a--model", "a--model.json"]


def test_a_model_of_pickles_alone_is_converted_and_fetched_once(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    checkpoint = io.BytesIO()
    torch.save({"a": torch.ones(3)}, checkpoint)
    hub.add("a/old", {"config.json": b"{}", "pytorch_model.bin": checkpoint.getvalue()})
    done = fetch("a/old")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "a--old"
    assert sorted(contents(folder)) == ["config.json", "model.safetensors"]
    assert torch.equal(load_file(folder / "model.safetensors")["a"], torch.ones(3))
    stamp = read_json(folder.with_suffix(".json"))
    assert stamp["files"].keys() == {"config.json", "model.safetensors"}
    digest = hashlib.sha256(checkpoint.getvalue()).hexdigest()
    assert stamp["converted"]["model.safetensors"]["from"] == "pytorch_model.bin"
    assert stamp["converted"]["model.safetensors"]["sha256"] == digest


def test_of_a_pipeline_only_its_components_are_fetched(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    index = {"_class_name": "P", "unet": ["diffusers", "U"], "safety_checker": [None, None]}
    hub.add(
        "a/pipeline",
        {
            "model_index.json": json.dumps(index).encode(),
            "unet/config.json": b"{}",
            "unet/model.safetensors": b"plain",
            "unet/model.fp16.safetensors": b"half",
            "safety_checker/model.safetensors": b"unused",
            "all-in-one.safetensors": b"large",
        },
    )
    assert fetch("a/pipeline").returncode == 0
    assert sorted(contents(tmp_path / "models/a--pipeline")) == [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
    ]


def test_the_lock_file_pins_the_commit_until_its_entry_is_deleted(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.add("a/model", MODEL)
    assert fetch("a/model").returncode == 0
    folder, lock = tmp_path / "models/a--model", tmp_path / "lock.json"
    first = folder.with_suffix(".json").read_bytes()
    write_json(lock, {"models": {"a--model": json.loads(first)}})
    hub.add("a/model", {**MODEL, "model.safetensors": b"newer"}, SECOND)
    shutil.rmtree(folder)
    done = fetch("a/model")
    assert done.returncode == 0, done.stderr
    assert f"commit {FIRST}, as {lock} says" in done.stderr
    assert folder.with_suffix(".json").read_bytes() == first
    assert contents(folder)["model.safetensors"] == b"weights"
    hub.paths.clear()
    assert fetch("a/model").returncode == 0
    assert hub.paths == []  # nothing is missing, so nothing is asked
    assert fetch("a/model", revision=SECOND).returncode == 0
    assert contents(folder)["model.safetensors"] == b"newer"
    lock.unlink()
    assert fetch("a/model").returncode == 0
    assert read_json(folder.with_suffix(".json"))["revision"] == SECOND


def test_a_token_of_the_environment_is_sent_and_written_nowhere(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.add("a/model", MODEL)
    hub.gated.add("a/model")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_ofalogin")  # not of the environment
    done = fetch("a/model")
    assert done.returncode == 1
    assert "accept its terms there and set HF_TOKEN" in done.stderr
    assert set(hub.tokens) == {None}
    done = fetch("a/model", HF_TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    assert f"Bearer {SECRET}" in hub.tokens
    shutil.rmtree(tmp_path / "home")
    said = [done.stdout, done.stderr]
    said += [data.decode() for data in contents(tmp_path).values()]
    assert not any(SECRET in text for text in said)
    assert hub.url not in done.stderr  # addresses may be signed, which is as good as a token


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("a/nothing", None, "model a/nothing is not on the hub, or is private or gated"),
        ("a/model", "v9", "model a/model at v9: there is no such revision"),
        ("a/pickles", None, "model a/pickles: it holds no weights as safetensors, only x.bin"),
        ("a/spoilt", None, "model a/spoilt: spoilt.safetensors is not what the hub announced"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_one_line(
    name: str, revision: str | None, said: str, hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.add("a/model", MODEL)
    hub.add("a/pickles", {"x.bin": b"pickle"})
    hub.add("a/spoilt", {"spoilt.safetensors": b"weights"})
    hub.spoilt.add("spoilt.safetensors")
    done = fetch(name, revision)
    assert done.returncode == 1
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models" / name.replace("/", "--")).exists()


def test_a_hub_that_cannot_be_reached_is_told(hub: Hub, fetch: Fetch) -> None:
    done = fetch("a/model", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "model a/model cannot be fetched" in done.stderr
    assert "run this where there is a network" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_sets_and_named_weights_are_fetched_too(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.add("a/set", {"README.md": b"", "data/x.parquet": b"rows", "run.py": b""}, kind="datasets")
    assert fetch("a/set", kind="dataset").returncode == 0
    assert sorted(contents(tmp_path / "datasets/a--set")) == ["README.md", "data/x.parquet"]
    hub.add("a/lora", {"one.safetensors": b"1", "two.safetensors": b"2"})
    assert fetch("a/lora", files=("two.safetensors",)).returncode == 0
    assert sorted(contents(tmp_path / "models/a--lora")) == ["two.safetensors"]


# ---- the workflow -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkout:
    """A checkout whose captioner, generator and feature extractor are on the hub.

    Attributes:
        folder: The checkout.
        hub: The hub.
        home: A user's folder of huggingface_hub.
    """

    folder: Path
    hub: Hub
    home: Path

    def run(self, *words: str) -> Done:
        """Run a command in the checkout."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=environment(self.hub, self.home),
            capture_output=True,
            text=True,
        )

    def snakemake(self, *words: str) -> Done:
        """Run Snakemake in the checkout; its output is in stderr, what jobs print in stdout."""
        line = ("snakemake", "--cores", "1", *words)
        return self.run(*line, "--configfile", "hub.yaml", "--replace-workflow-config")

    def jobs(self, *words: str) -> list[str]:
        """Return the jobs of a dry run, sorted."""
        done = self.snakemake("-n", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout + done.stderr
        return sorted(re.findall(r"^(?:local)?rule (\w+):$", said, flags=re.MULTILINE))


@pytest.fixture
def on_hub(
    hub: Hub, repository: Path, checkout: Callable[[], Path], tmp_path: Path
) -> Iterator[Checkout]:
    """A checkout of the tiny experiment with models of the hub."""
    config = yaml.safe_load((repository / "tests/configs/tiny.yaml").read_text())
    config["captioners"]["tiny"]["model"] = "a/captioner"
    config["captioners"]["other"] = {"model": "a/unused"}
    config["feature_extractors"]["tiny"]["model"] = "an/encoder"
    config["generators"]["tiny"] |= {"model": "a/generator", "revision": SECOND}
    folder = checkout()
    (folder / "hub.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(repository / "config.yaml", folder)
    hub.add("a/captioner", MODEL)
    hub.add("an/encoder", MODEL, FIRST)
    hub.add("a/generator", MODEL, FIRST)
    hub.add("a/generator", {**MODEL, "model.safetensors": b"newer"}, SECOND)
    yield Checkout(folder, hub, tmp_path / "home")
    shutil.rmtree(folder)


CAPTIONS = "results/openmoji/captions/tiny/car-0.jsonl"


def test_prefetch_plans_what_the_configuration_uses(on_hub: Checkout) -> None:
    assert on_hub.jobs("prefetch") == [
        "download_model",
        "download_model",
        "download_model",
        "prefetch",
    ]
    assert on_hub.jobs("downloads/data/imagenet-a.json") == ["download_data"]
    assert on_hub.hub.paths == []


def test_prefetch_of_local_models_fetches_nothing(on_hub: Checkout, repository: Path) -> None:
    (on_hub.folder / "models").symlink_to(repository / "models")
    done = on_hub.run("snakemake", "--cores", "1", "prefetch")
    assert done.returncode == 0, done.stderr
    assert "nothing to fetch: every model and data set of this configuration is local" in (
        done.stdout + done.stderr
    )
    assert not (on_hub.folder / "downloads").exists()


def command_of(done: Done, script: str) -> str:
    lines = (done.stdout + done.stderr).splitlines()
    return next(line.strip() for line in lines if script in line and "--settings" in line)


@pytest.mark.slow
def test_prefetch_locks_pins_and_restores_and_changes_no_command(on_hub: Checkout) -> None:
    planned = on_hub.snakemake("-n", "-p", CAPTIONS)
    done = on_hub.snakemake("prefetch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"models/a--captioner: commit {FIRST[:12]}, 2 files" in done.stdout + done.stderr
    lock = on_hub.folder / "downloads" / "lock.json"
    entries = read_json(lock)["models"]
    generator = f"a--generator@{SECOND}"
    assert {name: entry["revision"] for name, entry in entries.items()} == {
        "a--captioner": FIRST,
        "an--encoder": FIRST,
        generator: SECOND,
    }
    # Jobs are told the same before and after, so that nothing reruns because of a prefetch.
    after = on_hub.snakemake("-n", "-p", CAPTIONS)
    script = "caption_images.py"
    assert command_of(planned, script) == command_of(after, script)
    assert "--model-lock downloads/models/a--captioner.json" in command_of(after, script)
    assert "download_model" not in after.stdout + after.stderr

    # A folder that was deleted comes back as it was, whatever the main branch is by now.
    written = lock.read_bytes()
    stamp = on_hub.folder / "downloads/models/a--captioner.json"
    time = stamp.stat().st_mtime_ns
    on_hub.hub.add("a/captioner", {**MODEL, "config.json": b"{ }"}, SECOND)
    shutil.rmtree(on_hub.folder / "downloads/models/a--captioner")
    assert on_hub.jobs("prefetch") == ["prefetch"]
    done = on_hub.snakemake("prefetch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was not whole, fetched again as it was" in done.stdout + done.stderr
    assert contents(on_hub.folder / "downloads/models/a--captioner")["config.json"] == b"{}"
    assert lock.read_bytes() == written
    assert stamp.stat().st_mtime_ns == time
    assert "download_model" not in on_hub.jobs(CAPTIONS)

    # Jobs without their model say at once how to get it.
    (on_hub.folder / "downloads/models/a--captioner/model.safetensors").unlink()
    done = on_hub.snakemake(CAPTIONS)
    assert done.returncode != 0
    assert (
        "snakemake prefetch --cores 1 --configfile hub.yaml --replace-workflow-config"
        in done.stdout + done.stderr
    )


WITHOUT_MODEL = """
import dataclasses, json, sys
sys.path.insert(0, sys.argv[1])
import {script}
from capsynth.errors import CapsynthError
plain = {{field.name: field.type for field in dataclasses.fields({script}.{settings})}}
known = (int, float, str, bool)
settings = {{name: kind() if kind in known else () for name, kind in plain.items()}}
settings["model"] = "downloads/models/a--b"
flags = ["--settings", json.dumps(settings), "--model-mark", "", "--model-lock"]
flags += [settings["model"] + ".json", "--threads", "1", "--tar", "x", "--manifest", "x"]
try:
    {script}.main(flags + "{flags}".split())
except CapsynthError as error:
    print(error)
print("HEAVY", sorted({{"torch", "transformers", "diffusers", "tqdm.auto"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("script", "settings", "flags"),
    [
        ("caption_images", "CaptionerSettings", "--output x"),
        ("generate_images", "GeneratorSettings", "--prompts x --extension png"),
    ],
)
def test_jobs_look_for_their_model_before_they_import_anything_heavy(
    script: str, settings: str, flags: str, repository: Path, tmp_path: Path
) -> None:
    code = WITHOUT_MODEL.format(script=script, settings=settings, flags=flags)
    done = subprocess.run(
        [sys.executable, "-c", code, str(repository / "workflow" / "scripts")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "HEAVY []" in done.stdout, done.stderr
    assert "downloads/models/a--b.json cannot be read" in done.stdout
    assert "snakemake prefetch" in done.stdout


def test_what_the_warm_server_starts_is_offline(repository: Path, tmp_path: Path) -> None:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    show = f"import os; print('OFFLINE', *(os.environ[n] for n in {names}))"
    done = subprocess.run(
        [
            *(sys.executable, str(repository / "workflow/scripts/warm.py"), "serve"),
            *("--preload", "json", "--", sys.executable, "-c", show),
        ],
        env={name: value for name, value in os.environ.items() if name not in names},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "OFFLINE 1 1 1" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_fetched_captioner_is_read_offline_by_a_warm_job(
    on_hub: Checkout, tiny_captioner: Path
) -> None:
    on_hub.hub.add("a/captioner", contents(tiny_captioner), SECOND)
    assert on_hub.snakemake("prefetch").returncode == 0
    on_hub.hub.commits.clear()
    on_hub.hub.paths.clear()
    done = on_hub.run(
        *(sys.executable, "workflow/scripts/warm.py", "serve", "--", "snakemake", "--cores", "1"),
        *(CAPTIONS, "--configfile", "hub.yaml", "--replace-workflow-config"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((on_hub.folder / CAPTIONS).read_text().splitlines()) == 4
    assert on_hub.hub.paths == []
    log = (on_hub.folder / "logs/caption_images/openmoji/tiny/car-0.log").read_text()
    assert "runs without the warm server" not in log

    # Its stamp is an input by content: a time reruns nothing, another commit what reads it.
    stamp = on_hub.folder / "downloads/models/a--captioner.json"
    stamp.touch()
    assert on_hub.jobs(CAPTIONS) == []
    write_json(stamp, {**read_json(stamp), "revision": FIRST})
    assert on_hub.jobs(CAPTIONS) == ["caption_images"]
