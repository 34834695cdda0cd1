"""Cosmic-ray nucleons on nitrogen with SIBYLL 2.3d: one interaction an event.

Primary energies are spread evenly in log E between --emin and --emax, so that `weight.py` can
give them any spectrum. The same seed gives the same arrays, byte for byte, on any machine with
the same package versions.

Writes events.npz: primary (energy of each event, GeV), event (index into primary), pid, energy
(GeV, lab) of every final-state particle; pions, kaons, muons and neutrinos are final.
"""

import argparse

import chromo
import numpy as np
from chromo.kinematics import FixedTarget, GeV

NITROGEN = (14, 7)


def primaries(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """Energies in GeV, sorted, so that neighbours share the generator's tables."""
    return np.sort(np.exp(rng.uniform(np.log(low), np.log(high), count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--emin", type=float, default=1e2, help="GeV")
    parser.add_argument("--emax", type=float, default=1e8, help="GeV")
    parser.add_argument("--out", default="events.npz")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    energies = primaries(rng, options.events, options.emin, options.emax)
    model = chromo.models.Sibyll23d(
        FixedTarget(energies[0] * GeV, "proton", NITROGEN), seed=options.seed
    )
    event, pid, energy = [], [], []
    for index, primary in enumerate(energies):
        model.kinematics = FixedTarget(primary * GeV, "proton", NITROGEN)
        for interaction in model(1):
            final = interaction.final_state()
            event.append(np.full(len(final), index, dtype=np.int32))
            pid.append(final.pid.astype(np.int32))
            energy.append(final.elab.astype(np.float64))
    np.savez(
        options.out,
        primary=energies,
        event=np.concatenate(event),
        pid=np.concatenate(pid),
        energy=np.concatenate(energy),
        limits=np.array([options.emin, options.emax]),
    )
    print(f"{options.events} interactions, {sum(map(len, pid))} final particles")


if __name__ == "__main__":
    main()
