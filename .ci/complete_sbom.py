"""Complete a software bill of materials: checksums of the packages, and which of them are wanted.

cyclonedx-py reads what is installed, with licences and who depends on whom, or a lock file, with
checksums; this puts the second into the first. What the project itself asks for becomes what its
root depends on.

python .ci/complete_sbom.py --installed a.json --locked b.json --output c.json requirements*.txt
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

_DIRECT = re.compile(r"^([A-Za-z0-9_.-]+)==", re.M)


def package_of(component: dict[str, Any]) -> str:
    """Return name and version of a component, as package URLs have them."""
    return str(component.get("purl", "")).partition("?")[0]


def complete(installed: dict[str, Any], locked: dict[str, Any], wanted: set[str]) -> list[str]:
    """Put checksums and roots into the bill of what is installed.

    Args:
        installed: The bill of an environment; changed.
        locked: The bill of its lock files.
        wanted: Names of the packages that the project asks for.

    Returns:
        Names of the packages without a checksum: somebody installed them beside the others.
    """
    checksums: dict[str, list[Any]] = {}
    for component in locked["components"]:
        with_hashes = [r for r in component.get("externalReferences", []) if r.get("hashes")]
        checksums.setdefault(package_of(component), []).extend(with_hashes)
    without = []
    for component in installed["components"]:
        found = checksums.get(package_of(component), [])
        component["externalReferences"] = component.get("externalReferences", []) + found
        if not found:
            without.append(component["name"])
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in wanted}
    roots = sorted(
        component["bom-ref"]
        for component in installed["components"]
        if re.sub(r"[-_.]+", "-", component["name"]).lower() in names
    )
    root = installed["metadata"]["component"]["bom-ref"]
    others = [entry for entry in installed["dependencies"] if entry["ref"] != root]
    installed["dependencies"] = [{"ref": root, "dependsOn": roots}, *others]
    return sorted(without)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--installed", "--locked", "--output"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("requirements", type=Path, nargs="+")
    args = parser.parse_args()
    bill = json.loads(args.installed.read_text(encoding="utf-8"))
    locked = json.loads(args.locked.read_text(encoding="utf-8"))
    wanted = {
        name
        for path in args.requirements
        for name in _DIRECT.findall(path.read_text(encoding="utf-8"))
    }
    without = complete(bill, locked, wanted)
    args.output.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if without:
        print("not of the lock files, so without checksums:", ", ".join(without), file=sys.stderr)


if __name__ == "__main__":
    main()
