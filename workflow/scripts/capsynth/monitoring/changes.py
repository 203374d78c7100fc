"""What a run would do and why, in words."""

import ast
import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.monitoring.plan import Plan, PlannedJob, Reasons

EXAMPLES = 3
# Wildcards that tell the jobs of one group apart; the others name the group.
MEMBERS = ("shard", "class_id", "seed", "eval_set", "download", "repository")
NEVER = "not made yet"
NEW = "makes now, beside what is kept"
FOLLOWS = "follows from"
WIDTH = 70  # characters of a value that is told
# What rules do, for sentences: "2 class shards of caption are drawn".
WORK = {
    "download_data": ("download", "fetched"),
    "download_model": ("model", "fetched"),
    "download_dataset": ("data set", "fetched"),
    "render_openmoji": ("class folder", "drawn"),
    "index_source": ("index", "made"),
    "pack_real": ("class shard", "packed"),
    "render_eval_set": ("evaluation set", "drawn"),
    "pack_eval_set": ("evaluation set", "packed"),
    "caption_images": ("class shard", "captioned"),
    "rewrite_captions": ("class shard", "rewritten"),
    "write_prompts": ("prompt file", "written"),
    "generate_images": ("class shard", "drawn"),
    "train_classifier": ("training", "run"),
    "evaluate_classifier": ("evaluation", "run"),
    "probe_classifier": ("probe", "run"),
    "train_reference": ("reference model", "trained"),
    "score_members": ("set of answers", "made"),
    "score_references": ("set of answers", "made"),
}
# Params that are no settings, and what it means when they change.
MARKS = {
    "token": "an image of its source was added, removed or changed",
    "mark": "the weights of the model changed",
}


@dataclass(frozen=True)
class Change:
    """Jobs that run for the same reasons.

    Attributes:
        rule: Their rule.
        groups: What they belong to, for example variants.
        members: What tells them apart, for example their shards.
        jobs: How many they are.
        reasons: Why they run.
        is_anew: Whether they ran before.
    """

    rule: str
    groups: tuple[str, ...]
    members: tuple[str, ...]
    jobs: int
    reasons: tuple[str, ...]
    is_anew: bool


def changes_of(plan: Plan) -> list[Change]:
    """Return why the owed jobs of a plan run, what is furthest upstream first."""
    alike: dict[tuple[str, tuple[str, ...], bool], list[PlannedJob]] = defaultdict(list)
    for job in plan.owed:
        is_anew = job.reasons is not None and job.reasons.made_before
        alike[job.rule, reasons_of(job), is_anew].append(job)
    return [
        Change(
            rule,
            tuple(dict.fromkeys(filter(None, map(group_of, jobs)))),
            tuple(dict.fromkeys(filter(None, map(member_of, jobs)))),
            len(jobs),
            reasons,
            is_anew,
        )
        for (rule, reasons, is_anew), jobs in alike.items()
    ]


def group_of(job: PlannedJob) -> str:
    """Return what a job belongs to: its variant, captioner, training set and recipe."""
    skipped = (*MEMBERS, "dataset")
    return " ".join(value for name, value in job.wildcards.items() if name not in skipped)


def member_of(job: PlannedJob) -> str:
    """Return what tells a job apart from others of its group."""
    names = [name for name in MEMBERS if name in job.wildcards]
    words = [f"seed {job.wildcards[n]}" if n == "seed" else job.wildcards[n] for n in names]
    return " ".join(words)


def reasons_of(job: PlannedJob) -> tuple[str, ...]:
    """Return why a job is owed, in words."""
    reasons = job.reasons
    if reasons is None:
        return ()
    own = [*_own_reasons(reasons)]
    # What was never made needs no other reason.
    if reasons.follows and own != [NEVER]:
        own.append(f"{FOLLOWS} {', '.join(reasons.follows)}")
    return tuple(own) or ("Snakemake gives no reason",)


def _own_reasons(reasons: Reasons) -> Iterable[str]:
    if reasons.forced:
        yield "forced"
    if reasons.incomplete:
        yield "was cut off before it ended"
    elif reasons.missing and reasons.made_before:
        if reasons.never:
            yield f"{NEW}: {_some([Path(file).name for file in reasons.never])}"
        if len(reasons.never) < len(reasons.missing):
            yield "its result was deleted"
    elif reasons.missing:
        yield NEVER
    if reasons.modules is not None:
        yield f"its code changed ({', '.join(reasons.modules) or 'where is not recorded'})"
    for name in sorted(set(reasons.updated.values())):
        if name == "arguments":
            yield "which files it reads and what it is told of them changed"
        else:
            yield f"its {name or 'input'} changed, by hand or by an earlier run"
    yield from _described_files("reads what it did not before", reasons.inputs_new)
    yield from _described_files("no longer reads", reasons.inputs_gone)
    yield from describe_params(reasons.params_before, reasons.params_now)
    if reasons.command_changed:
        yield "the command of its rule changed"
    if reasons.software_changed:
        yield "its environment changed"


def _described_files(what: str, files: Sequence[str]) -> Iterable[str]:
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        yield f"{what}: {files[0]}{more}"


def describe_params(before: Sequence[str], now: Mapping[str, Any]) -> list[str]:
    """Return which settings changed from what to what.

    Args:
        before: Python expressions of params that are gone; Snakemake records them without names.
        now: Params that are new, by name.
    """
    old = [(value, settings_of(value)) for value in map(_value_of, before)]
    words = []
    for name, value in sorted(now.items()):
        if name in MARKS:
            words.append(MARKS[name])
            continue
        settings = settings_of(value)
        fitting = [known for _, known in old if known and settings.keys() & known.keys()]
        if not fitting:
            words.append(f"{name} is now {_short(value)}")
            continue
        # Of several that share names, the one that differs least.
        nearest = min(
            fitting,
            key=lambda other: (
                len(settings.keys() ^ other.keys()),
                len(settings.items() ^ other.items()),
            ),
        )
        words += describe_settings(nearest, settings)
    return words or (["a setting is no longer given"] if before else [])


def describe_settings(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which of two sets of settings, each value as JSON, differ and how."""
    words = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if old is None or new is None:
            words.append(f"{name} is new: {_short(new)}" if old is None else f"{name} is gone")
        elif (lists := (_list_of(old), _list_of(new))) and all(len(each) > 1 for each in lists):
            words.append(_described_lists(name, *lists))
        else:
            words.append(f"{name}: {_short(old)} → {_short(new)}")
    return words


def _described_lists(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    added, gone = [x for x in new if x not in old], [x for x in old if x not in new]
    words = [f"{_some(added)} came"] if added else []
    words += [f"{_some(gone)} went"] if gone else []
    return f"{name}: {', '.join(words) or 'another order'}"


def settings_of(value: Any) -> dict[str, str]:
    """Return the settings in a param, values as JSON: of a JSON object, or of flags."""
    parsed = _parsed(value)
    if isinstance(parsed, dict):
        return {name: json.dumps(inner, ensure_ascii=False) for name, inner in parsed.items()}
    if not isinstance(value, str) or not value.startswith("--"):
        return {}
    flags: dict[str, list[str]] = {}
    for word in shlex.split(value):
        if word.startswith("--"):
            flags[word[2:].replace("-", "_")] = []
        elif flags:
            flags[list(flags)[-1]].append(word)
    settings: dict[str, str] = {}
    for name, words in flags.items():
        inner = settings_of(words[0]) if len(words) == 1 else {}
        settings |= {f"{name}.{key}": its for key, its in inner.items()}
        if not inner:
            known = [_parsed(word) for word in words]
            one = known[0] if len(known) == 1 else known
            settings[name] = json.dumps(one, ensure_ascii=False)
    return settings


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _value_of(expression: str) -> Any:
    try:
        return ast.literal_eval(expression)
    except (SyntaxError, ValueError):
        return expression


def _list_of(value: str) -> list[str]:
    parsed = _parsed(value)
    return [str(item) for item in parsed] if isinstance(parsed, list) else []


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(_short(item) for item in items[:EXAMPLES])
    return f"{shown} and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else shown


def sentence(change: Change) -> str:
    """Return a change as a sentence."""
    anew = " anew" if change.is_anew else ""
    why = "; ".join(change.reasons)
    if change.rule not in WORK:
        return f"{change.rule} runs{anew}: {why}"
    noun, done = WORK[change.rule]
    plural, verb = ("", "is") if change.jobs == 1 else ("s", "are")
    of = f" of {_some(change.groups)}" if change.groups else ""
    which = f" ({_some(change.members)})" if change.members else ""
    return f"{change.jobs} {noun}{plural}{of} {verb} {done}{anew}{which}: {why}"
