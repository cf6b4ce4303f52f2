"""Draws what a page of the benchmark says: how many times as fast as each alternative emmap is.

Usage: chart.py RESULTS.md CHART: makes CHART.svg, and CHART.png for pages that show no SVG.
       chart.py PEER.md CHART
"""

import collections
import math
import re
import sys

import matplotlib

matplotlib.use("agg")
# The same input gives the same file, and text stays text.
matplotlib.rcParams.update(
    {"svg.hashsalt": "emmap", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

COLOURS = ["#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7"]
# What the other alternatives are drawn in, each with its name beside the bar.
OTHERS, OTHERS_COLOUR = "others", "#999999"

# Kinds of rows: title, which names, what is left of the name.
KINDS = [
    ("Words and counters", r"((?:atomic|counter).*)"),
    ("pread, lock", r"pread (.*), lock"),
    ("pread, nolock", r"pread (.*), nolock"),
    ("pread, direct", r"pread (.*), direct"),
    ("pread, direct", r"pread (.*), direct, (min_bin_vheap_size raised)"),
    ("pwrite, lock", r"pwrite (.*), lock"),
    ("pwrite, nolock", r"pwrite (.*), nolock"),
    ("Sequential", r"((?:sequential|read_line).*)"),
    ("Lines, 512 at a time", r"lines, 512 at a time, (.*)"),
    ("Queue", r"queue: (.*)"),
    ("Blocks", r"blocks: (.*)"),
    ("Other", r"(.*)"),
]
# Beside OTP there are many bars; these rows look like others.
LIKE_OTHERS = re.compile(r", nolock|all to one word|(64 KiB|1 MiB|64 MiB|1 GiB), direct")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def bars_of(page):
    """The bars (row, alternative, ratio) of a page, and what the picture compares with."""
    with open(page, encoding="utf-8") as lines:
        text = lines.read()
    peer = re.search(r"^emmap ([\d.]+) \(C\+\+", text, re.M)
    table = text[text.index("| emmap is faster by |"):].split("\n\n")[0].splitlines()[2:]
    number = lambda cell: float(cell.replace(",", ""))  # noqa: E731
    if peer:
        rows = [cells(line) for line in table]
        return [(row[0], "C++", number(row[4])) for row in rows if row[1] == "1"], f"the C++ library, {peer[1]}"
    bars, name = [], None
    for row in map(cells, table):
        name = row[0] or name
        if row[5] and row[3] != "unchecked NIF" and not LIKE_OTHERS.search(name):
            bars.append((name, row[3], number(row[5])))
    return bars, None


def kind_of(name):
    """The title of a row's kind, and the row's name below it."""
    for title, pattern in KINDS:
        match = re.fullmatch(pattern, name)
        if match:
            return title, ", ".join(match.groups())
    raise ValueError(name)


def two_digits(ratio):
    """No more than is known; the page has no more than two places."""
    rounded = round(ratio, 1 - math.floor(math.log10(ratio)))
    return f"{rounded:,.{min(2, max(0, 1 - math.floor(math.log10(rounded))))}f}×"


def tick(exponent):
    return f"{2 ** exponent}×" if exponent >= 0 else "0.5×" if exponent == -1 else f"1/{2 ** -exponent}×"


def main(page, target):
    bars, peer = bars_of(page)
    order = list(dict.fromkeys(title for title, _ in KINDS))
    bars.sort(key=lambda bar: order.index(kind_of(bar[0])[0]))
    frequent = collections.Counter(other.split(",")[0] for _, other, _ in bars).most_common(len(COLOURS))
    colours = dict(zip((kind for kind, _ in frequent), COLOURS))

    # From above: a title for each kind, its rows below, a bar for each alternative.
    position, drawn, labels, titles = 0.0, [], [], []
    before = (None, None)
    for name, other, ratio in bars:
        title, row = kind_of(name)
        if title != before[0]:
            position += 0.8 if before[0] else 0
            titles.append((position, title))
            position += 1.1
        elif row != before[1]:
            position += 0.35 if not peer else 0
        if (title, row) != before:
            labels.append((position, row))
        before = (title, row)
        drawn.append((position, other, ratio))
        position += 1

    figure, axes = pyplot.subplots(figsize=(8, 1.3 + 0.165 * position))
    seen = set()
    for place, other, ratio in drawn:
        kind, _, variant = other.partition(", ")
        if kind not in colours:
            kind, variant = OTHERS, other
        axes.barh(place, ratio - 1, left=1, height=0.86, color=colours.get(kind, OTHERS_COLOUR),
                  label=None if kind in seen else kind)
        seen.add(kind)
        note = two_digits(ratio) + (f"  {variant}" if variant else "")
        axes.annotate(note, (ratio, place), (3 if ratio >= 1 else -3, 0), textcoords="offset points", va="center",
                      ha="left" if ratio >= 1 else "right", fontsize=7.5)

    low, high = (math.log2(extreme(ratio for _, _, ratio in drawn)) for extreme in (min, max))
    step = 1 if high - low < 6 else 2
    first, last = step * math.floor(min(low, -1) / step), step * math.ceil(max(high, 1) / step)
    axes.set_xscale("log", base=2)
    # Room for what stands beside the longest bars.
    left = 0.28 if low < first + 1 else 0.05
    axes.set_xlim(2 ** (first - left * (last - first)), 2 ** (last + 0.1 * (last - first)))
    ticks = range(first, last + 1, step)
    axes.set_xticks([2.0 ** exponent for exponent in ticks], [tick(exponent) for exponent in ticks])
    axes.minorticks_off()
    axes.tick_params(axis="x", top=True, labeltop=True, length=3)
    axes.set_ylim(position - 0.2, -0.6)
    axes.set_yticks([place for place, _ in labels], [label for _, label in labels])
    for place, title in titles:
        axes.annotate(title, (0, place), (-3.5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="center", fontweight="bold", annotation_clip=False)
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    heading = f"emmap: times as fast as {peer or 'the alternative'}"
    figure.suptitle(heading, x=0.01, y=0.995, ha="left", va="top", fontsize=11, fontweight="bold")
    inch = 1 / figure.get_figheight()
    figure.text(0.01, 0.995 - 0.24 * inch, "Logarithmic scale; bars to the right of 1 are where emmap is faster.",
                ha="left", va="top", color="#555555")
    if not peer:
        figure.legend(loc="upper left", bbox_to_anchor=(0.0, 0.995 - 0.4 * inch), ncol=len(seen), frameon=False,
                      title=None, handlelength=1.2, columnspacing=1.5)
    figure.patch.set_facecolor("white")
    figure.subplots_adjust(left=0.29, right=0.98, bottom=0.3 * inch, top=1 - (1.0 if not peer else 0.78) * inch)
    figure.savefig(f"{target}.svg", metadata={"Date": None})
    figure.savefig(f"{target}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
