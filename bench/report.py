"""Showing rows: as tab-separated lines, as a chart of text, as a chart in SVG."""

from html import escape

BAR = 40
COLOURS = {"ok": "#3a7d44", "short": "#b3452c", "skipped": "#999999"}


def number(value):
    return "-" if value is None else f"{value:.4g}"


def ratio(row):
    return "-" if row.ratio is None else f"{row.ratio:.3f}"


def tsv(row):
    return "\t".join([row.name, row.unit, number(row.ours), number(row.peer), row.peer_name, ratio(row),
                      f"{row.target:.2f}", row.verdict])


def scale(row):
    """What a full bar means, as a ratio: some more than the target, the peer and ours."""
    return 1.1 * max(1.0, row.target, row.ratio or 0)


def text(row):
    """Two lines: figures, and a bar of the ratio to the peer with a mark at the target."""
    head = (f"{row.group + ' ' + row.name:<22} {ratio(row):>7} of {row.peer_name}: {number(row.ours)} to {number(row.peer)} "
            f"{row.unit} (target {row.target:.2f}: {row.verdict})")
    filled = round((row.ratio or 0) / scale(row) * BAR)
    mark = round(row.target / scale(row) * BAR)
    bar = "".join("|" if i == mark else "#" if i < filled else " " for i in range(BAR + 1))
    return f"{head}\n{'':22} {bar.rstrip()}"


def svg(rows):
    """A chart of all the rows: a bar each, the peer's length a grey one, and a line at the target."""
    left, width, height = 150, 480, 46
    parts = []
    for i, row in enumerate(rows):
        y = 10 + i * height
        unit = width / scale(row)
        label = f"{number(row.ours)} to {number(row.peer)} {row.unit}, {ratio(row)} of {row.peer_name}"
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{left}" y="{y}" width="{unit:.1f}" height="18" fill="#dddddd"/>',
            f'<rect x="{left}" y="{y + 4}" width="{(row.ratio or 0) * unit:.1f}" height="10" fill="{COLOURS[row.verdict]}"/>',
            f'<path d="M{left + row.target * unit:.1f} {y - 3}v24" stroke="#000000"/>',
            f'<text x="{left}" y="{y + 32}" font-size="11" fill="#444444">{escape(label)}</text>',
        ]
    total = 20 + len(rows) * height
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" height="{total}" '
            f'font-family="sans-serif" font-size="13">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def growth_svg(x_name, y_name, xs, lines):
    """A chart of how figures grow with `xs`: for each of `lines`, a name and figures, points with a line through them."""
    left, top, width, height = 70, 20, 480, 260
    colours = ["#3a7d44", "#999999"]
    highest = 1.1 * max(figure for _, figures in lines for figure in figures)

    def place(x, y):
        return left + width * x / xs[-1], top + height * (1 - y / highest)

    parts = [f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#000000"/>',
             f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{escape(x_name)}</text>']
    for x in xs:
        parts.append(f'<text x="{place(x, 0)[0]:.1f}" y="{top + height + 18}" text-anchor="middle">{x}</text>')
    for i, (name, figures) in enumerate(lines):
        points = [place(x, y) for x, y in zip(xs, figures)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[i]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[i]}"/>' for x, y in points]
        parts += [f'<text x="{x - 6:.1f}" y="{y - 8 + 24 * i:.1f}" font-size="11" text-anchor="end" fill="{colours[i]}">'
                  f"{number(figure)} {escape(y_name)}</text>" for (x, y), figure in zip(points, figures)]
        parts.append(f'<text x="{left + 12}" y="{top + 18 + 18 * i}" fill="{colours[i]}">{escape(name)}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 40}" height="{top + height + 55}" '
            f'font-family="sans-serif" font-size="13">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")
