"""Weight the particles with the H3a cosmic-ray flux and let the mesons decay to muon neutrinos.

The result is a set of histograms over energy that add up over jobs, and the atmospheric neutrino
flux H3a_SIBYLL23C of nuflux at the bin centres for comparison. Vertical direction.

Sources: T. Gaisser, Astropart. Phys. 35 (2012) 801 (model H3a); T. Gaisser, R. Engel and
E. Resconi, "Cosmic Rays and Particle Physics", chapter 6 (cascade equations, decay against
interaction, superposition).
"""

import argparse

import nuflux
import numpy as np

# Charge, mass number and, for three populations, the flux per ln E at 1 GeV (m^-2 s^-1 sr^-1)
# and the integral spectral index.
NUCLEI = (
    (1, 1, (7860.0, 20.0, 1.7), (1.66, 1.4, 1.4)),
    (2, 4, (3550.0, 20.0, 1.7), (1.58, 1.4, 1.4)),
    (7, 14, (2200.0, 13.4, 1.14), (1.63, 1.4, 1.4)),
    (13, 27, (1430.0, 13.4, 1.14), (1.67, 1.4, 1.4)),
    (26, 56, (2120.0, 13.4, 1.14), (1.63, 1.4, 1.4)),
)
CUTOFFS_GV = (4e6, 3e7, 2e9)  # rigidity where each population ends

# Meson: critical energy (GeV), (1 - L_N/L_M) / ln(L_M/L_N) of the attenuation lengths,
# branching to a muon neutrino, and 1 - (m_mu/m_M)^2, the largest share the neutrino can take.
DECAYS = {211: (115.0, 0.87, 1.0, 0.4269), 321: (850.0, 0.82, 0.6356, 0.9542)}
EDGES = np.logspace(1, 7, 61)


def nucleon_flux(energy: np.ndarray) -> np.ndarray:
    """H3a nucleons a GeV cm^2 s sr at an energy per nucleon, by superposition."""
    total = np.zeros_like(energy)
    for charge, mass, norms, indices in NUCLEI:
        nucleus = energy * mass
        per_log = sum(
            norm * nucleus**-index * np.exp(-nucleus / (charge * cutoff))
            for norm, index, cutoff in zip(norms, indices, CUTOFFS_GV, strict=True)
        )
        total += mass * per_log / energy
    return total * 1e-4


def event_weights(primary: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Flux an event stands for: primaries were spread evenly in ln E."""
    density = len(primary) / np.log(limits[1] / limits[0]) / primary
    return nucleon_flux(primary) / density


def decay_spectrum(pid: int, energy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Muon neutrinos from two-body decays: flat in energy from 0 to the largest share."""
    critical, attenuation, branching, share = DECAYS[pid]
    decays = weight * branching / (1 + attenuation * energy / critical)
    top = share * energy
    below = np.clip(EDGES[:, None] / top, 0, 1)
    return np.diff(below, axis=0) @ decays


def regeneration(selected: dict, weight: np.ndarray) -> np.ndarray:
    """Sums for Z_NN: nucleons out and nucleons in, both weighted with the local spectrum E^-1.7."""
    nucleons = np.isin(np.abs(selected["pid"]), (2112, 2212))
    share = selected["energy"][nucleons] / selected["primary"][selected["event"][nucleons]]
    return np.array([np.sum(share**1.7), float(len(weight))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("selected")
    parser.add_argument("--out", default="weighted.npz")
    options = parser.parse_args()

    with np.load(options.selected) as file:
        selected = {name: file[name] for name in file.files}
    per_event = event_weights(selected["primary"], selected["limits"])
    weight, kind = per_event[selected["event"]], np.abs(selected["pid"])
    spectra = {
        f"nu_{name}": decay_spectrum(pid, selected["energy"][kind == pid], weight[kind == pid])
        for name, pid in (("pion", 211), ("kaon", 321))
    }
    for name, pid in (("nu_prompt", 14), ("muon_prompt", 13), ("pion", 211), ("kaon", 321)):
        chosen = kind == pid
        spectra[name] = np.histogram(selected["energy"][chosen], EDGES, weights=weight[chosen])[0]
    centres = np.sqrt(EDGES[1:] * EDGES[:-1])
    flux = nuflux.makeFlux("H3a_SIBYLL23C")
    compared = sum(
        flux.getFlux(flavour, centres, np.ones_like(centres))
        for flavour in (nuflux.NuMu, nuflux.NuMuBar)
    )
    np.savez(
        options.out,
        edges=EDGES,
        nuflux=compared,
        regeneration=regeneration(selected, per_event),
        **spectra,
    )
    print(f"{len(weight)} particles weighted")


if __name__ == "__main__":
    main()
