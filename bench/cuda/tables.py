# SPDX-License-Identifier: Apache-2.0
"""What was measured as Markdown: the table of cuda/check, and bench/results/h200.md."""
import pathlib
import re

import ponder

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIGURES = "## Figures"


def cells(*texts):
    return "| " + " | ".join(str(text).replace("|", "\\|") for text in texts) + " |"


def short(value):
    """Returns a number with three digits or, if it is larger, whole."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ours(row):
    if "ours" not in row:
        return row.get("note", "-")
    low, high = row["range"]
    return f"{short(row['ours'])} ({short(low)}-{short(high)}) {row['unit']}"


def rivals(row):
    """Returns the best rival, then the others, then those that did not run."""
    values = row.get("rivals", {})
    best = row.get("rival")
    order = sorted(values, key=lambda name: name != best)
    return ", ".join([f"{name} {short(values[name])}" for name in order]
                     + [f"{name} -" for name in row.get("absent", {})]) or "-"


def figures(rows):
    """Returns the lines of the one table of timings, and what it left out."""
    lines = [cells("kernel", "shape", "ours, median (range)", "rival", "ratio", "share of the peak",
                   "target", "met"),
             "| --- | --- | --- | --- | ---: | ---: | --- | --- |"]
    reasons = {}
    for row in rows:
        if "kernel" not in row:
            continue
        for name, reason in row.get("absent", {}).items():
            reasons.setdefault(f"{name}: {reason}")
        lines.append(cells(
            f"{row['kernel']} {row.get('dtype', '')}".strip(), row["shape"] or "-", ours(row),
            rivals(row), f"{row['ratio']:.2f}" if "ratio" in row else "-",
            f"{row['share']:.2f}" if "share" in row else "-", row.get("target", "-"),
            {True: "yes", False: "no"}.get(row.get("met"), "-")))
    lines += [""] + [f"- {name} {short(value)}" for row in rows
                     for name, value in row.get("peaks", {}).items()]
    return lines + [f"- no figure of {reason}" for reason in reasons]


def functions_of(stem):
    text = (ROOT / "cuda/src" / f"{stem}.cu").read_text(encoding="utf-8")
    return set(re.findall(r"\bpnd_(\w+)\(", text))


def verified(cell, stem, facts):
    """Returns what a file's cell says after a check: when all its tapes passed, or what failed;
    what it said before if no tape was of this file."""
    played = {name: passed for name, passed in facts["tapes"].items() if name in functions_of(stem)}
    if not played:
        return cell
    when = f"{facts['date'][:10]}, {facts['commit'][:12]}"
    if "with changes" in facts["commit"]:
        when += " with changes"
    if facts["form"] == "quick":
        when += ", small calls"
    failed = sorted(name for name, passed in played.items() if not passed)
    return f"{when}: failed: {', '.join(failed)}" if failed else when


def record(text, facts):
    """Returns the text of a result file, brought up to a check on a device."""
    if not ponder.is_on_device(facts["build"]):
        raise ValueError(f"the check was of \"{facts['build']}\", which is no device's library")
    lines = text.split(FIGURES)[0].rstrip().splitlines()
    known = 0
    for number, line in enumerate(lines):
        parts = [part.strip() for part in line.strip().strip("|").split(" | ")]
        if len(parts) == 5 and (ROOT / "cuda/src" / f"{parts[0]}.cu").exists():
            known += 1
            parts[3] = verified(parts[3], parts[0], facts)
            if any("ours" in row and row["kernel"].split()[0].rstrip(",") in functions_of(parts[0])
                   for row in facts["figures"] if "kernel" in row):
                parts[4] = "below"
            lines[number] = cells(*parts)
    if not known:
        raise ValueError("the file has no table of the sources")
    about = ", ".join(facts[name] for name in ("device", "date", "commit"))
    about += f"; driver {facts['driver']}, CUDA {facts['toolkit']}"
    if facts["torch"]:
        about += f", PyTorch {facts['torch']}"
    return "\n".join(lines + ["", FIGURES, "", about + ".", ""]
                     + figures(facts["figures"])).rstrip() + "\n"
