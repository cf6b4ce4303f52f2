"""Draws the chart of the benchmark: how many times as fast as each alternative emmap is.

Usage: chart.py BARS.tsv CHART.svg; a line of BARS.tsv is row, alternative, ratio, separated by tabs.
"""

import sys

import matplotlib

matplotlib.use("svg")
# The same input gives the same file, and text stays text.
matplotlib.rcParams.update(
    {"svg.hashsalt": "emmap", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

COLOURS = ["#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#999999"]


def text(ratio):
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.3g}×"


def main(source, target):
    with open(source, encoding="utf-8") as lines:
        bars = [(row, other, float(ratio)) for row, other, ratio in (line.rstrip("\n").split("\t") for line in lines)]
    kinds = list(dict.fromkeys(
        "raw file" if other.startswith("raw file") else other for _, other, _ in bars))
    colours = dict(zip(kinds, COLOURS))

    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.175 * len(bars)), layout="constrained")
    position, places, names, shown = 0.0, [], [], set()
    for index, (row, other, ratio) in enumerate(bars):
        if index and bars[index - 1][0] != row:
            position += 0.45
        kind = "raw file" if other.startswith("raw file") else other
        axes.barh(position, ratio - 1, left=1, height=0.9, color=colours[kind],
                  label=kind if kind not in shown else None)
        shown.add(kind)
        note = text(ratio) + (f"  ({other[10:]})" if other.startswith("raw file, ") else "")
        axes.annotate(note, (ratio, position), (3 if ratio >= 1 else -3, 0), textcoords="offset points",
                      va="center", ha="left" if ratio >= 1 else "right", fontsize=7.5)
        if index == 0 or bars[index - 1][0] != row:
            places.append(position)
            names.append(row)
        position += 1

    axes.set_xscale("log")
    low, high = min(ratio for _, _, ratio in bars), max(ratio for _, _, ratio in bars)
    axes.set_xlim(min(0.3, low / 8), high * 3)
    axes.set_ylim(position - 0.3, -0.8)
    axes.set_yticks(places, names)
    axes.axvline(1, color="black", linewidth=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title("emmap: times as fast as the alternative (log scale; right of 1 is faster)", loc="left")
    axes.legend(loc="lower right", frameon=True, framealpha=1, title="compared with")
    figure.patch.set_facecolor("white")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
