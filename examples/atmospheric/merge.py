"""Add up the histograms of all jobs and draw the muon neutrino spectrum beside nuflux.

Reads FOLDER/*/weighted.npz, writes spectra.npz and spectra.png.
"""

import argparse
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

SUMMED = ("nu_pion", "nu_kaon", "nu_prompt", "muon_prompt", "pion", "kaon", "regeneration")


def add_up(paths: list) -> dict:
    """Mean of the jobs' spectra (each job alone is normalised), in the order of the job numbers."""
    total: dict = {}
    for path in paths:
        with np.load(path) as part:
            for name in SUMMED:
                total[name] = total.get(name, 0) + part[name]
            total["edges"], total["nuflux"] = part["edges"], part["nuflux"]
            spread = part["nu_pion"] + part["nu_kaon"] + part["nu_prompt"]
            total["squares"] = total.get("squares", 0) + spread**2
    for name in SUMMED[:-1]:
        total[name] = total[name] / len(paths)
    total["jobs"] = np.array(len(paths))
    return total


def flux_of(total: dict) -> dict:
    """Fluxes a GeV, with the cascade's regeneration 1 / (1 - Z_NN), and the statistical error."""
    out, into = total["regeneration"]
    factor = 1 / (1 - out / into) / np.diff(total["edges"])
    fluxes = {name: total[name] * factor for name in ("nu_pion", "nu_kaon", "nu_prompt")}
    fluxes["nu"] = sum(fluxes.values())
    count = int(total["jobs"])
    mean = total["nu_pion"] + total["nu_kaon"] + total["nu_prompt"]
    variance = np.maximum(total["squares"] / count - mean**2, 0) / max(count - 1, 1)
    fluxes["error"] = np.sqrt(variance) * factor
    return fluxes


def draw(total: dict, fluxes: dict, path: str) -> None:
    edges, expected = total["edges"], total["nuflux"]
    centre = np.sqrt(edges[1:] * edges[:-1])
    scale = centre**3
    figure, (top, low) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 7), height_ratios=(3, 1), layout="constrained"
    )
    top.plot(centre, expected * scale, color="black", label="nuflux H3a_SIBYLL23C")
    top.errorbar(
        centre, fluxes["nu"] * scale, fluxes["error"] * scale, fmt="o", ms=4,
        color="tab:red", label="SIBYLL 2.3d on nitrogen, H3a",
    )  # fmt: skip
    for name, label in (("pion", "from pions"), ("kaon", "from kaons"), ("prompt", "prompt")):
        top.step(centre, fluxes[f"nu_{name}"] * scale, where="mid", lw=1, label=label)
    top.set(
        xscale="log", yscale="log", xlim=(1e2, 1e6),
        ylim=(1e-5, 0.1), ylabel=r"$E^3\,\Phi$ / GeV$^2$ cm$^{-2}$ s$^{-1}$ sr$^{-1}$",
    )  # fmt: skip
    events = f"{int(total['regeneration'][1]):,} interactions in {int(total['jobs'])} jobs"
    top.set_title(rf"Vertical atmospheric $\nu_\mu+\bar\nu_\mu$: {events}")
    top.legend(frameon=False)
    low.axhline(1, color="black", lw=1)
    low.errorbar(
        centre, fluxes["nu"] / expected, fluxes["error"] / expected, fmt="o", ms=4,
        color="tab:red",
    )  # fmt: skip
    low.set(xlabel="neutrino energy / GeV", ylabel="ratio to nuflux", ylim=(0, 2))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--out", default="spectra.npz")
    parser.add_argument("--picture", default="spectra.png")
    options = parser.parse_args()

    paths = sorted(
        pathlib.Path(options.folder).glob("*/weighted.npz"), key=lambda path: int(path.parent.name)
    )
    if not paths:
        raise SystemExit(f"no */weighted.npz below {options.folder}")
    total = add_up(paths)
    fluxes = flux_of(total)
    np.savez(options.out, edges=total["edges"], nuflux=total["nuflux"], **fluxes)
    draw(total, fluxes, options.picture)
    print(f"{len(paths)} jobs merged into {options.out} and {options.picture}")


if __name__ == "__main__":
    main()
