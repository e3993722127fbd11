"""A report is JSON with the numbers of small.prn."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    r = json.load(f)
assert r["tool"] == "prune-opt"
assert r["pipeline"] == "canonicalize,dce"
assert r["before"] == {"operations": 3, "weights": 2, "entries": 3,
                       "nonzero": 3, "bytes": 12}, r["before"]
assert r["after"]["operations"] == 2
assert [p["pass"] for p in r["passes"]] == ["canonicalize", "dce"]
assert r["remarks"] == {"Rewritten": 1}
assert [w["name"] for w in r["weights"]] == ["w", "b.w"]
assert r["weights"][0]["nonzero_before"] == 2
