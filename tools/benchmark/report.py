"""Medians, ratios and verdicts as Markdown."""

import statistics

from subjects import OURS, PEERS


def better_small(row):
    """Whether a smaller figure of this row is the better one."""
    return row.endswith(("_s", "_us", "_ms", "_MiB")) and not row.endswith("_per_s")


class Goal:
    """A row, whom it is measured against, and how many times as good we want to be."""

    def __init__(self, row, against, factor, backing=None):
        self.row, self.against, self.factor, self.backing = row, against, factor, backing


SPEED_ROWS = [
    "seq_write_MiBs", "seq_read_cold_MiBs", "seq_read_warm_MiBs", "rand_read_cold_1j_iops", "rand_read_cold_4j_iops",
    "rand_read_warm_1j_iops", "rand_write_endfsync_iops", "rand_write_durable_iops", "create_4k_per_s",
    "stat_cold_per_s", "stat_warm_per_s", "read_4k_cold_per_s", "read_4k_warm_per_s", "unlink_per_s",
    "create_fsync_per_s", "untar_s", "grep_r_cold_s", "grep_r_warm_s", "du_cold_s", "find_warm_s", "git_clone_s",
    "git_status_cold_s", "git_status_warm_s", "rm_rf_s",
]
WARM = {"seq_read_warm_MiBs", "rand_read_warm_1j_iops", "stat_warm_per_s", "find_warm_s", "git_status_warm_s"}
TREES = ["untar_s", "unzip_10k_s", "cp_r_s", "git_clone_s", "git_status_cold_s", "grep_r_cold_s", "rm_rf_s"]

GOALS = [
    *(Goal(row, "best peer", 0.95 if row in WARM else 1.0) for row in SPEED_ROWS),
    Goal("seq_write_MiBs", "passthrough", 0.9, "disk"),
    Goal("seq_read_cold_MiBs", "passthrough", 0.9, "disk"),
    Goal("seq_write_4k_buffered_MiBs", "passthrough", 0.9, "disk"),
    *(Goal(row, "passthrough", 0.95) for row in ("seq_read_warm_MiBs", "stat_warm_per_s", "list_warm_per_s")),
    Goal("read_4k_warm_per_s", "native", 0.7),
    Goal("rand_read_cold_1j_iops", "best peer", 1.3, "disk"),
    Goal("rand_read_cold_4j_iops", "best peer", 1.3, "disk"),
    Goal("rand_write_durable_iops", "native", 1.2, "disk"),
    Goal("create_fsync_per_s", "native", 2.0, "disk"),
    *(Goal(row, "passthrough", 3.0, "tmpfs") for row in
      ("create_4k_per_s", "unlink_per_s", "stat_cold_per_s", "read_4k_cold_per_s")),
    Goal("read_4k_cold_per_s", "native", 1.2, "disk"),
    *(Goal(row, "best peer", 3.0, "image") for row in TREES),
    *(Goal(row, "native", 0.6, "image") for row in TREES),
    Goal("sqlite_wal_tps", "native", 1.0), Goal("sqlite_rollback_tps", "native", 1.5), Goal("pgbench_tps", "native", 1.0),
]


def medians(results):
    """{(subject, row): median} of the results of one backing."""
    values = {}
    for result in results:
        for row, figure in result["figures"].items():
            values.setdefault((result["subject"], row), []).append(figure)
    return {key: statistics.median(list_) for key, list_ in values.items()}


def times_as_good(row, ours, theirs):
    """2.0 means: twice as fast. None when one figure is missing or zero."""
    if not ours or not theirs:
        return None
    return theirs / ours if better_small(row) else ours / theirs


def best(row, figures, names):
    """The best figure of these subjects, or None."""
    found = [figures[name, row] for name in names if (name, row) in figures]
    if not found:
        return None
    return min(found) if better_small(row) else max(found)


def number(figure):
    if figure is None:
        return "-"
    if figure >= 10_000:
        return f"{figure / 1000:.0f}k" if figure < 1_000_000 else f"{figure / 1_000_000:.2f}M"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def figures_table(results):
    """One line a row, one column a subject; behind a figure its ratio to the first subject (above 1 is better)."""
    figures = medians(results)
    names = list(dict.fromkeys(result["subject"] for result in sorted(results, key=lambda result: result["place"])))
    rows = list(dict.fromkeys(row for result in results for row in result["figures"]))
    lines = []
    for row in rows:
        cells = []
        for name in names:
            ratio = times_as_good(row, figures.get((name, row)), figures.get((names[0], row)))
            behind = f" ({ratio:.2f})" if ratio and name != names[0] else ""
            cells.append(number(figures.get((name, row))) + behind)
        lines.append([row, *cells])
    return table(["row", *names], lines)


def goals_table(results, backing):
    """One line a goal that can be judged with these results."""
    figures = medians(results)
    lines = []
    for goal in GOALS:
        if goal.backing not in (None, backing):
            continue
        ours = best(goal.row, figures, OURS)
        theirs = best(goal.row, figures, PEERS if goal.against == "best peer" else [goal.against])
        ratio = times_as_good(goal.row, ours, theirs)
        if ratio is not None:
            met = "met" if ratio >= goal.factor else "**not met**"
            lines.append([goal.row, goal.against, f"{goal.factor:.2f}", f"{ratio:.2f}", met])
    return table(["row", "against", "goal", "reached", ""], lines) if lines else ""


def scale_table(results):
    """The rows that must not grow, for our subjects."""
    figures = medians(results)
    pairs = [(f"dir_10k_{what}_us", f"dir_large_{what}_us", 1.3) for what in ("create", "list", "stat", "remove")]
    pairs += [("mount_little_ms", "mount_much_ms", 1.3), ("recover_little_ms", "recover_much_ms", 1.3)]
    lines = []
    for name in OURS:
        for small, large, limit in pairs:
            few, many = figures.get((name, small)), figures.get((name, large))
            if few and many:
                met = "met" if many / few <= limit else "**not met**"
                lines.append([name, f"{small} -> {large}", number(few), number(many), f"{many / few:.2f}", met])
    return table(["subject", "rows", "small", "large", "growth", ""], lines) if lines else ""


def document(session):
    """All tables of a session as Markdown."""
    text = f"Made {session['date']} by `{session['command']}`: medians of {session['rounds']} interleaved rounds. " \
        f"Machine: {session['machine']}.\n"
    for backing in dict.fromkeys(result["backing"] for result in session["results"]):
        results = [result for result in session["results"] if result["backing"] == backing]
        text += f"\n### Backing: {backing}\n\n{figures_table(results)}"
        if goals := goals_table(results, backing):
            text += f"\nGoals, with the better transport:\n\n{goals}"
        if growth := scale_table(results):
            text += f"\nGrowth:\n\n{growth}"
    if session["skipped"]:
        text += "\nNot measured: " + "; ".join(session["skipped"]) + ".\n"
    return text
