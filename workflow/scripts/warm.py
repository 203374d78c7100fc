"""Pay the imports of many short jobs once.

    python workflow/scripts/warm.py serve -- snakemake --cores 2
    python workflow/scripts/warm.py run workflow/scripts/pack_real.py --flags ...

``serve`` runs a command beside a server that has torch and its companions imported; ``run`` runs
a script in a child of that server, or plainly if there is none. See docs/warm-start.md.
"""

import sys
from collections.abc import Sequence

from capsynth import warm


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process as the script or the command ends."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `run` is read by hand: what follows belongs to the script, and argparse costs every job 10 ms.
    if arguments[:1] == ["run"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        warm.run(arguments[1], arguments[2:])
    else:
        _serve(arguments)


def _serve(arguments: list[str]) -> None:
    import argparse
    from pathlib import Path

    from capsynth import warm_server
    from capsynth.caches import keep_caches
    from capsynth.errors import CapsynthError
    from capsynth.offline import go_offline

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run a script as a child of the server, or plainly")
    run.add_argument("script", help="a Python script; everything after it belongs to it")
    serve = verbs.add_parser("serve", help="run a command beside a server")
    serve.add_argument(
        "--preload",
        action="append",
        metavar="MODULE[:NAME,...]",
        help="a third-party module, and names in it, to import in the server (may be repeated; "
        "default: torch, diffusers, transformers and what else the jobs use)",
    )
    serve.usage = "%(prog)s [--preload MODULE[:NAME,...]] -- COMMAND [ARGUMENT ...]"
    # Split by hand: the command may have a `--` of its own.
    split = arguments.index("--") if "--" in arguments else len(arguments)
    flags, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    if not command:
        serve.error("there is no command; give one after `--`")
    # The server imports with hub access off, as the jobs of the workflow do, and with their caches.
    go_offline()
    keep_caches(Path(".snakemake/caches"))
    try:
        warm_server.serve(command, flags.preload or warm_server.PRELOAD)
    except CapsynthError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
