"""Compare what ``mpibatch info --digest --json`` told about several files: one line a dataset, and a verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(paths: list[str]) -> int:
    files = [json.loads(Path(path).read_text()) for path in paths]
    found = [{dataset["name"]: dataset for dataset in file["datasets"]} for file in files]
    wide = max(map(len, set().union(*found)), default=0)
    print(f"\n{'dataset':<{wide}} {'shape':>12} {'dtype':<8} SHA-256 of the elements")
    differ = []
    for name in sorted(set().union(*found)):
        digests = {file[name]["sha256"] if name in file else "missing" for file in found}
        some = next(file[name] for file in found if name in file)
        shape = " × ".join(map(str, some["shape"]))
        print(f"{name:<{wide}} {shape:>12} {some['dtype']:<8} {' ≠ '.join(sorted(digests))}")
        if len(digests) > 1:
            differ.append(name)
    if differ or not found[0]:
        print(f"NOT the same bits in {', '.join(differ) or 'files without datasets'}; compared: {', '.join(paths)}")
        return 1
    for table in files[0].get("tables", ()):
        print(f"{table['rows']} {table['name']} in the catalog, with {', '.join(table['columns'])}")
    print(f"All {len(files)} runs agree: the same bits on 1, 2 and 3 ranks.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
