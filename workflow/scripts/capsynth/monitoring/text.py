"""Changes, costs, status and damage as text for a terminal."""

from collections.abc import Mapping, Sequence

from capsynth.monitoring.changes import Change, sentence
from capsynth.monitoring.estimates import Estimate, StageCost
from capsynth.monitoring.plan import Plan
from capsynth.monitoring.status import RunStatus, StageStatus, State
from capsynth.verification import Verification

FAILURES = 5
MORE = "?"  # where nothing is recorded
COSTS = ("stage", "jobs", "core hours", "GPU hours", "new data")


def changes_text(plan: Plan, changes: Sequence[Change], costs: Estimate) -> str:
    """Return what a run would do, why, and what it would cost."""
    owed, jobs = len(plan.owed), len(plan.jobs)
    lines = [f"A run would do {owed} of {jobs} jobs."] if owed else ["A run would do nothing."]
    lines += [f"- {sentence(change)}" for change in changes]
    if owed:
        lines += ["", *table(COSTS, [_cost_row(cost) for cost in costs.stages])]
        lines += ["", *_wall_lines(plan, costs)]
    for rule in plan.rules:
        if shielded := sum(job.is_shielded for job in plan.jobs if job.rule == rule):
            lines.append(
                f"{rule}: {counted(shielded, 'result')} of other code, which the profile shields; "
                f"--forcerun {rule} makes them anew."
            )
    return "\n".join(lines)


def _cost_row(cost: StageCost) -> tuple[str, ...]:
    known = cost.jobs > cost.unknown
    return (
        cost.rule,
        str(cost.jobs),
        hours(cost.core_s) + (" +" if cost.unknown else "") if known else MORE,
        hours(cost.gpu_s) if known else MORE,
        size(cost.new_bytes) if cost.new_bytes is not None else MORE,
    )


def _wall_lines(plan: Plan, costs: Estimate) -> list[str]:
    unknown = sum(cost.unknown for cost in costs.stages)
    rough = sum(cost.rough for cost in costs.stages)
    lines = []
    if unknown < len(plan.owed):
        least = "at least " if unknown else ""
        lines.append(
            f"Time with {at_once(plan)}: {least}{duration(costs.wall_s)}, by recorded times."
        )
    if unknown:
        lines.append(
            f"No time is recorded for {counted(unknown, 'job')}; the figures leave it out."
        )
    if rough:
        lines.append(
            f"{counted(rough, 'job')} judged by jobs of another kind of the same rule: roughly."
        )
    return lines


def estimate_text(plan: Plan, costs: Estimate, walls: Mapping[int, float]) -> str:
    """Return what a run would cost.

    Args:
        plan: The plan.
        costs: What its owed jobs cost.
        walls: Seconds until the last of them ends, by the number of GPUs.
    """
    if not costs.stages:
        return "A run would do nothing."
    every = StageCost(
        rule="all of them",
        jobs=sum(cost.jobs for cost in costs.stages),
        unknown=sum(cost.unknown for cost in costs.stages),
        rough=sum(cost.rough for cost in costs.stages),
        core_s=sum(cost.core_s for cost in costs.stages),
        gpu_s=sum(cost.gpu_s for cost in costs.stages),
        new_bytes=sum(cost.new_bytes or 0.0 for cost in costs.stages),
    )
    lines = table(COSTS, [_cost_row(cost) for cost in (*costs.stages, every)])
    if every.gpu_s:
        header = ("GPUs", "wall time", "of it GPUs busy")
        rows = [
            (str(gpus), duration(wall), f"{every.gpu_s / (gpus * wall):.0%}")
            for gpus, wall in walls.items()
        ]
        lines += ["", *table(header, rows), f"Beside them {at_once(plan)} without a GPU."]
    elif every.jobs > every.unknown:
        lines += ["", f"Time with {at_once(plan)}: {duration(costs.wall_s)}."]
    if every.rough:
        lines += ["", f"{counted(every.rough, 'job')} judged by jobs of another kind: roughly."]
    silent = [cost.rule for cost in costs.stages if cost.unknown == cost.jobs]
    if silent:
        lines += [
            "",
            f"No time is recorded of {', '.join(silent)}; the figures leave them out. "
            "Run the experiment with a few classes first, here or in another folder that you name "
            "with --recorded: --config 'dataset={classes: [...]}'.",
        ]
    return "\n".join(lines)


def status_text(plan: Plan, status: RunStatus) -> str:
    """Return how far a run is."""
    names = [s for s in State if s != State.QUEUED or not plan.is_local]
    header = ("stage", *names, "items/s a job", "items/s now", "work left")
    lines = table(header, [_status_row(stage, names) for stage in status.stages])
    owed = len(plan.owed)
    lines += ["", f"{len(plan.jobs) - owed} of {len(plan.jobs)} jobs are done."]
    if owed and status.unknown < owed:
        least = "at least " if status.unknown else ""
        lines.append(f"Time left with {at_once(plan)}: {least}{duration(status.left_s)}.")
    if status.unknown:
        lines.append(f"No time is recorded for {counted(status.unknown, 'owed job')}.")
    if batches := sum(stage.batches for stage in status.stages):
        lines.append(f"Kept of unfinished jobs: {counted(batches, 'finished batch', 'es')}.")
    failures = [failure for stage in status.stages for failure in stage.failures]
    lines += [f"{log}: {error}" for log, error in failures[:FAILURES]]
    if len(failures) > FAILURES:
        lines.append(f"{len(failures) - FAILURES} more failed.")
    return "\n".join(lines)


def verification_text(found: Verification) -> str:
    """Return what a look at all results has found."""
    lines = [
        f"{counted(found.checked, 'file')}, {size(found.size_bytes)}: "
        f"{len(found.damaged) or 'none'} damaged."
    ]
    for damage in found.damaged:
        made = f" ({damage.made_by.rule} in run {damage.made_by.run})" if damage.made_by else ""
        lines.append(f"- {damage.path} {damage.problem}{made}")
    if found.damaged:
        lines += [
            "To make these anew, and nothing else, give the options of the run:",
            "  python workflow/scripts/verify_results.py --repair -- --cores 2",
        ]
    if found.without_checksum:
        more = f", and {len(found.without_checksum) - 1} more" * (len(found.without_checksum) > 1)
        lines.append(f"Nothing to compare with: {found.without_checksum[0]}{more}.")
    if found.being_made:
        lines.append(
            f"Left out, for their jobs have not ended: {counted(found.being_made, 'file')}."
        )
    for problem in found.damaged_records:
        lines.append(f"Of the records of runs {problem}.")
    if found.missing:
        lines.append(f"Deleted since they were made: {counted(found.missing, 'file')}.")
    return "\n".join(lines)


def _status_row(stage: StageStatus, names: Sequence[State]) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    owed = sum(stage.counts.values()) - stage.counts.get(State.DONE, 0)
    left = MORE if stage.core_s_left is None else duration(stage.core_s_left)
    return (
        stage.rule,
        *(str(stage.counts.get(name, 0) or "") for name in names),
        number(stage.items_per_s),
        number(stage.items_per_s_now),
        left if owed else "",
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of a table, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        first, *rest = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return lines


def at_once(plan: Plan) -> str:
    """Return how much runs at once."""
    return f"{counted(plan.slots, 'thread' if plan.is_local else 'job')} at once"


def counted(number: int, noun: str, plural: str = "s") -> str:
    """Return a number of things."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


def hours(seconds: float) -> str:
    """Return seconds as hours."""
    value = seconds / 3600
    return "0" if not seconds else f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(number: float) -> str:
    """Return bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
