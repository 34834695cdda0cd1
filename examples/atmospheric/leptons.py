"""Keep muons, neutrinos, their parents and leading nucleons above a threshold.

Reads events.npz, writes selected.npz with the same arrays, shorter.
"""

import argparse

import numpy as np

LEPTONS = (12, 13, 14, 16)
PARENTS = (211, 321, 130, 310, 411, 421, 431, 4122)  # pions, kaons, charm
NUCLEONS = (2112, 2212)  # for the regeneration of the cascade
WANTED = np.array(LEPTONS + PARENTS + NUCLEONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events")
    parser.add_argument("--threshold", type=float, default=10.0, help="GeV")
    parser.add_argument("--out", default="selected.npz")
    options = parser.parse_args()

    with np.load(options.events) as events:
        keep = np.isin(np.abs(events["pid"]), WANTED) & (events["energy"] >= options.threshold)
        selected = {name: events[name][keep] for name in ("event", "pid", "energy")}
        selected["primary"], selected["limits"] = events["primary"], events["limits"]
    np.savez(options.out, **selected)
    print(f"kept {keep.sum()} of {len(keep)} particles above {options.threshold:g} GeV")


if __name__ == "__main__":
    main()
