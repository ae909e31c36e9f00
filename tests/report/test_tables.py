"""Tables 1-3 against numbers computed by hand, and how they are written."""

import csv
import io
import re
import shutil
import statistics
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_runs import JOINT, M_TO_S, S_TO_M, THREE, directions, make_run, three_modalities

from metrics.catalogue import GROUPS
from mmbench.escape import escape_latex, escape_markdown
from mmbench.report.numbers import paper
from mmbench.report.numbers.columns import abbreviations
from mmbench.report.numbers.leaderboard import build_leaderboard
from mmbench.report.numbers.render import to_csv, to_latex, to_markdown
from mmbench.report.numbers.tables import build_tables

EVIL = "<script>alert(1)</script>&_%$"


def rows(markdown: str) -> list[list[str]]:
    """The fields of a Markdown table, head and rule included."""
    return [
        [field.strip() for field in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in markdown.splitlines()
        if line.startswith("|")
    ]


def column(markdown: str, name: str) -> list[str]:
    head, _, *body = rows(markdown)
    return [row[head.index(name)] for row in body]


def test_mean_deviation_and_difference_by_hand():
    runs = [
        make_run("cnf-mvae", seed, metrics={JOINT: value}) for seed, value in enumerate((0.30, 0.33, 0.36))
    ]
    table = build_tables(runs)[0]
    text = to_markdown(table)
    assert column(text, "Joint") == ["33.00 ± 3.00"]
    assert column(text, "Joint paper") == ["33.45"]
    assert column(text, "Joint Δ") == ["−0.45"]  # noqa: RUF001
    assert column(text, "Seeds") == ["3"]
    line = next(row for row in csv.DictReader(io.StringIO(to_csv(table))) if row["metric"] == JOINT)
    assert (line["mean"], line["std"], line["n"], line["values"], line["seeds"]) == (
        "0.33",
        "0.03",
        "3",
        "0.3;0.33;0.36",
        "0;1;2",
    )
    assert (line["paper"], line["difference"], line["unit"]) == ("0.3345", "-0.0045", "fraction")


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_csv_agrees_with_the_statistics_module(values):
    runs = [make_run(seed=seed, metrics={"probe/mnist": value}) for seed, value in enumerate(values)]
    line = next(csv.DictReader(io.StringIO(to_csv(build_tables(runs)[2]))))
    assert float(line["mean"]) == pytest.approx(statistics.fmean(values), rel=1e-8, abs=1e-12)
    assert float(line["std"]) == pytest.approx(statistics.stdev(values), rel=1e-8, abs=1e-12)
    assert float(line["standard_error"]) == pytest.approx(
        statistics.stdev(values) / len(values) ** 0.5, rel=1e-8, abs=1e-12
    )
    assert [float(value) for value in line["values"].split(";")] == pytest.approx(values, rel=1e-8, abs=1e-12)


def test_one_seed_has_no_deviation():
    table = build_tables([make_run(metrics={JOINT: 0.5})])[0]
    assert column(to_markdown(table), "Joint") == ["50.00"]
    assert "±" not in to_markdown(table)
    line = next(csv.DictReader(io.StringIO(to_csv(table))))
    assert (line["std"], line["standard_error"]) == ("", "")


def test_best_is_bold_by_direction_with_ties_at_the_printed_precision():
    def metrics(coherence, distance):
        return {JOINT: coherence, "joint_coherence/entropy": coherence, "fd_clf/mnist": distance}

    references = {"fd_clf_floor/mnist": 0.1}
    runs = [
        make_run("cada-vae", metrics=metrics(0.30001, 7.0), references=references),
        make_run("mmvae", metrics=metrics(0.30004, 5.0), references=references),
        make_run("mopoe", metrics=metrics(0.29, 9.0), references=references),
    ]
    first, second, _ = map(to_markdown, build_tables(runs))
    assert column(first, "Joint") == ["**30.00**", "**30.00**", "29.00"]
    assert column(first, "Joint entropy (nats)") == ["0.30", "0.30", "0.29"]
    # the floor is no competitor
    assert column(second, "FD-clf mnist") == ["7.00", "**5.00**", "9.00", "0.10"]
    # one model is not the best of anything
    assert "**" not in "".join(column(to_markdown(build_tables(runs[:1])[0]), "Joint"))


def test_a_model_that_draws_one_class_is_not_the_best_of_joint_coherence():
    def metrics(coherence, entropy):
        return {JOINT: coherence, "joint_coherence/entropy": entropy, "probe/mnist": coherence}

    runs = [
        make_run("cada-vae", metrics=metrics(0.3, 2.2)),
        make_run("mmvae", metrics=metrics(0.9, 1.0)),
        make_run("mopoe", metrics=metrics(0.4, 1.1)),
    ]
    tables = build_tables(runs)
    assert column(to_markdown(tables[0]), "Joint") == ["30.00", "90.00", "**40.00**"]
    words = (
        "Bold: best of the column, of joint coherence among models with at least half of the largest entropy."
    )
    assert words in tables[0].caption
    assert column(to_markdown(tables[2]), "Probe mnist") == ["30.00", "**90.00**", "40.00"]
    assert "Bold: best of the column." in tables[2].caption
    assert "entropy" not in build_tables(runs[::2])[0].caption.partition("Bold")[2]


def test_empty_cells_say_why_and_share_their_footnotes():
    why = "There are no Inception weights here"
    runs = [
        make_run(
            metrics={"fid/mnist": None, "fid/svhn": None, "fd_clf/mnist": 2.0},
            reasons={"fid/mnist": why, "fid/svhn": why + "."},
        )
    ]
    text = to_markdown(build_tables(runs)[1])
    assert column(text, "FID mnist") == [
        "—<sup>a</sup>",
        "—<sup>a</sup>",
    ]  # the floor lacks for the same reason
    assert column(text, "FID svhn") == ["—<sup>a</sup>", "—<sup>a</sup>"]
    assert column(text, "FID mnist paper") == ["129.53", ""]
    assert column(text, "FD-clf svhn")[0] == "—<sup>b</sup>"
    assert f"<sup>a</sup> {why}." in text
    assert (
        "<sup>b</sup> not computed in this run; mmbench evaluate adds it later, with --metrics fd_clf."
        in text
    )
    assert "<sup>c</sup> No run holds this floor." in text


def test_a_metric_that_one_seed_lacks():
    runs = [
        make_run(seed=0, metrics={JOINT: 0.4}),
        make_run(seed=1, metrics={JOINT: None}, reasons={JOINT: "no agreement"}),
    ]
    text = to_markdown(build_tables(runs)[0])
    assert column(text, "Joint") == ["40.00<sup>a</sup>"]
    assert "<sup>a</sup> Seed 1: no agreement." in text


def test_failed_and_unfinished_seeds_are_named():
    runs = [
        make_run("mmvae", 0, metrics={JOINT: 0.2}),
        make_run("mmvae", 1, "failed", error="Loss is nan\nat step 3"),
        make_run("mmvae", 2, "running"),
        make_run("mopoe", 0, "failed", error="out of memory"),
    ]
    text = to_markdown(build_tables(runs)[0])
    assert column(text, "Seeds") == ["1<sup>a</sup>", "0<sup>c</sup>"]
    assert column(text, "Joint") == ["20.00", "—<sup>c</sup>"]
    assert (
        "<sup>a</sup> Rests on 1 of 3 seeds: seed 1 failed (Loss is nan at step 3); seed 2 is running."
        in text
    )
    assert "<sup>c</sup> No seed is done: seed 0 failed (out of memory)." in text


def test_floors_that_differ_between_runs_are_not_averaged():
    runs = [
        make_run("mmvae", references={"fd_clf_floor/mnist": 0.5}),
        make_run("mopoe", references={"fd_clf_floor/mnist": 0.7}),
    ]
    table = build_tables(runs)[1]
    assert column(to_markdown(table), "FD-clf mnist")[-1] == "0.50 or 0.70"
    assert "references fd clf floor/mnist is 0.5 (MMVAE), 0.7 (MOPOE)" in table.warning


def test_paper_columns_only_for_the_papers_data_and_models():
    elsewhere = to_markdown(build_tables([make_run(dataset="digits", metrics={JOINT: 0.2})])[0])
    assert "paper" not in elsewhere.lower()
    runs = [make_run("mopoe", metrics={JOINT: 0.2}), make_run("zebra", metrics={JOINT: 0.3})]
    here = to_markdown(build_tables(runs)[0])
    assert column(here, "Joint paper") == ["31.42", "—<sup>b</sup>"]
    assert "<sup>b</sup> The paper does not report this model." in here
    assert escape_markdown(paper.CITATION) in here
    assert "M→S mean" in rows(here)[0]
    assert "M→S mean paper" not in rows(here)[0]


def test_the_papers_figures():
    assert paper.reported("mnist-svhn", "cnf-mvae", M_TO_S) == pytest.approx(0.8322)
    assert paper.reported("mnist-svhn", "cada-vae", S_TO_M) == pytest.approx(0.7536)
    assert paper.reported("mnist-svhn", "mmvae", "fid/svhn") == 126.11
    assert paper.reported("mnist-svhn", "mopoe", "probe/svhn") == pytest.approx(0.6945)
    assert paper.reported("digits", "mopoe", JOINT) is None
    assert paper.reported("mnist-svhn", "mopoe", "cross_coherence/mnist->svhn/mean") is None


def test_what_looks_like_markup_is_escaped():
    runs = [
        make_run(EVIL, title=EVIL, label=EVIL, state="failed", error=EVIL),
        make_run(metrics={JOINT: 0.1}),
    ]
    table = build_tables(runs)[0]
    markdown, latex = to_markdown(table), to_latex(table)
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;&amp;\_%\$" in markdown
    assert r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}\&\_\%\$" in latex
    assert EVIL not in markdown + latex
    assert "<script" not in markdown
    assert next(csv.DictReader(io.StringIO(to_csv(table))))["label"] == EVIL
    assert escape_markdown("a|b\n*c* [d](e) `f`") == r"a\|b \*c\* \[d\](e) \`f\`"
    assert escape_markdown("_a_ https://x.org/a_b __c__") == r"\_a\_ https://x.org/a_b \_\_c\_\_"
    assert escape_latex("~^\\{}#[x]") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}\#{[}x{]}"


def full_table(names=("mnist", "svhn")):
    metrics = {JOINT: 0.5, "fitted_coherence": 0.75}
    metrics |= {
        f"cross_coherence/{'+'.join(a)}->{b}/{latent}": 0.25
        for a, b in directions(names)
        for latent in ("sample", "mean")
    }
    metrics |= {f"{metric}/{name}": 0.5 for metric in ("fid", "fd_clf", "probe") for name in names}
    return build_tables(
        [
            make_run(model, seed, names=names, metrics=metrics)
            for model in ("mmvae", "mopoe", "x_1%")
            for seed in (0, 1)
        ]
    )


@pytest.mark.parametrize("names", [("mnist", "svhn"), ("mnist", "svhn", "text")])
def test_every_row_has_every_column(names):
    for table in full_table(names):
        head, *body = rows(to_markdown(table))
        assert {len(row) for row in body} == {len(head)}
        latex = to_latex(table)
        width = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", latex).group(1))
        lines = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {width} == {len(head)}
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", latex)]
        top = next((line for line in latex.splitlines() if "multicolumn" in line), None)
        if top:
            assert len(re.findall(r"(?<!\\)&", top)) + 1 - len(spans) + sum(spans) == width
        for name in ("table", "tabular", "minipage"):
            assert latex.count(f"\\begin{{{name}}}") == latex.count(f"\\end{{{name}}}") == 1
        bare = re.sub(r"\\[{}]", "", latex)
        assert bare.count("{") == bare.count("}")


def test_three_modalities_have_means_in_table_1_and_directions_in_table_1b():
    first, every, distances, probes = build_tables(three_modalities())
    assert [table.number for table in (first, every, distances, probes)] == ["1", "1b", "2", "3"]
    text = to_markdown(first)
    assert [name for name in rows(text)[0] if "From" in name] == [
        "From 1 sample",
        "From 1 mean",
        "From 2 sample",
        "From 2 mean",
    ]
    assert column(text, "From 2 mean") == ["**61.00 ± 1.41**"] * 2  # a tie
    head, _, seeds, *body = rows(to_markdown(every))
    assert head == ["", "MOPOE", "MDAE"]
    assert seeds == ["Seeds", "2", "2"]
    short = [("+".join(name[0].upper() for name in a), b[0].upper()) for a, b in directions(THREE)]
    assert [row[0] for row in body] == [f"{a}→{b} {mode}" for a, b in short for mode in ("sample", "mean")]
    assert body[5] == ["S→M mean", "10.00 ± 0.00", "**15.00 ± 0.00**"]  # the third direction
    assert "M: mnist; S: svhn; T: text. S+T→M: given several at once." in to_markdown(every).replace("\\", "")
    assert "Bold: best of the row." in every.caption
    lines = list(csv.DictReader(io.StringIO(to_csv(every))))
    assert len(lines) == 2 * 2 * 9
    found = next(
        line
        for line in lines
        if (line["model"], line["metric"]) == ("mopoe", "cross_coherence/svhn+text->mnist/mean")
    )
    assert (found["mean"], found["n"]) == ("0.4", "2")


def test_two_modalities_have_three_tables_and_their_directions_in_the_first():
    tables = build_tables([make_run(metrics={JOINT: 0.5})])
    assert [table.number for table in tables] == ["1", "2", "3"]
    head = rows(to_markdown(tables[0]))[0]
    assert head[2:] == ["Joint", "Joint paper", "Joint Δ", "Joint chance", "Joint entropy (nats)"] + [
        f"{a}→{b} {part}" for a, b in ("MS", "SM") for part in ("sample", "paper", "Δ", "mean")
    ]


def test_a_fitted_sampler_has_columns_of_its_own_beside_the_prior():
    older, newer = (
        make_run("mmvae", metrics={JOINT: 0.2}),
        make_run("mopoe", metrics={JOINT: 0.2, "fitted_coherence": 0.7}),
    )
    assert "fitted" not in to_markdown(build_tables([older])[0])
    table = build_tables([older, newer])[0]
    text = to_markdown(table)
    names = [name for name in rows(text)[0] if name.startswith("Joint")]
    assert names[-3:] == ["Joint fitted", "Joint fitted chance", "Joint fitted entropy (nats)"]
    assert column(text, "Joint fitted") == ["—<sup>b</sup>", "70.00"]
    assert (
        "<sup>b</sup> not computed in this run; mmbench evaluate adds it later, with --metrics sampler."
        in text
    )
    assert (
        "a Gaussian mixture in place of the prior, fitted to latents of train data after training; not the "
        "model's prior" in table.caption
    )
    assert "\\multicolumn{3}{c}{Joint fitted}" in to_latex(table)


def test_a_model_without_a_prior_says_not_defined():
    table = build_tables(three_modalities())[0]
    text = to_markdown(table)
    assert column(text, "Joint") == ["25.00 ± 0.00", "not defined<sup>b</sup>"]
    assert column(text, "Joint fitted") == ["**55.00 ± 7.07**"] * 2
    assert "<sup>b</sup> Not defined: it has no prior." in text
    assert "not defined\\textsuperscript{b}" in to_latex(table)


def test_texts_have_no_fid():
    head = rows(to_markdown(build_tables(three_modalities())[2]))[0]
    assert head[2:] == ["FID mnist", "FID svhn", "FD-clf mnist", "FD-clf svhn", "FD-clf text"]


HOSTILE = (
    *("\\input{/etc/passwd}", "\\end{document}", "$$\\frac{", "100%", "a & b \\\\", "#1 ~x^2_{y}", "* [2em]"),
    *(
        "{",
        "}",
        "--- `` \" '' ?` !`",
        "日本 ñ Ç ß Ł ÿ ½ ² ﬁ ĝ ą 🙂 é",
        "\x1b[31m\x00\x7f\u202e",
        "|<>|",
        "≤ … \u2013 —",
    ),
    "".join(chr(code) for code in range(0xA0, 0x180)),
)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    """Also with hostile words in the place of title, label, message, note, modality and warning."""
    evil = [
        make_run(f"model-{number}", seed, title=word, label=word, state=state, error=word, preset=word)
        for number, word in enumerate(HOSTILE)
        for seed, state in ((0, "done"), (1, "failed"))
    ]
    strange = [make_run(title=word, names=(word, "svhn"), metrics={JOINT: 0.5}) for word in HOSTILE]
    tables = [*full_table(), *full_table(THREE), *build_tables(evil)]
    tables += [table for run in strange for table in build_tables([run])]
    body = "\n\\clearpage\n".join(map(to_latex, tables))
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx}"
    document = f"{head}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_abbreviations():
    assert abbreviations(["mnist", "svhn"]) == {"mnist": "M", "svhn": "S"}
    assert abbreviations(["digit", "drawn", "street"]) == {"digit": "Di", "drawn": "Dr", "street": "St"}


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=2, max_size=5, unique=True))
def test_abbreviations_are_distinct_beginnings(names):
    short = abbreviations(names)
    assert len(set(short.values())) == len(names)
    assert all(name.startswith(short[name].lower()) for name in names)


def test_the_papers_figures_stand_beside_the_papers_kind_alone():
    """Not beside a variant under a label, nor beside a baseline as published."""
    runs = [
        make_run("mmvae", metrics={JOINT: 0.3}),
        make_run("mmvae", label="paper", metrics={JOINT: 0.3}),
        make_run("mmvae", label="published", metrics={JOINT: 0.4}),
        make_run("mmvae", label="wide", metrics={JOINT: 0.1}),
    ]
    for run in runs[1:3]:
        run.config["named"] = run.label
    table = build_tables(runs)[0]
    assert [row.name for row in table.rows] == [
        "MMVAE",
        "MMVAE, as in the paper",
        "MMVAE, as published",
        "MMVAE (wide)",
    ]
    assert [row.cells[0].paper for row in table.rows] == [0.2893, 0.2893, None, None]
    text = to_markdown(table)
    assert "The paper does not report this variant." in text
    assert "| MMVAE (wide) | 1 | 10.00 | —" in text


def many_modalities(count):
    """Two models of many modalities: the value of a direction says where it is from and to."""
    names = tuple(f"m{i}" for i in range(count))
    runs = []
    for model, shift in (("mopoe", 0.0), ("mvae", 0.001)):
        metrics = {
            str(name): 0.01 * name.size
            or 0.1 * names.index(name.sources[0]) + 0.01 * names.index(name.target) + shift
            for name in GROUPS["coherence"].names(names)
            if name.kind == "cross_coherence"
        }
        metrics |= {
            str(name): 0.5 + shift
            for name in GROUPS["retrieval"].names(names)
            if name.kind.startswith("label_map")
        }
        runs.append(make_run(model, dataset="own", names=names, metrics=metrics))
    return names, runs


@pytest.mark.parametrize("count", [4, 5, 10])
def test_directions_of_many_modalities_are_a_matrix(count):
    names, runs = many_modalities(count)
    tables = {table.number: table for table in build_tables(runs)}
    assert list(tables) == ["1", "1b", "2", "3", "4", "4b"]
    head, _, *body = rows(to_markdown(tables["1b"]))
    assert head == ["Model", "Given", *(f"→ {name}" for name in names)]
    assert len(body) == 2 * count
    assert [row[0] for row in body[:2]] == ["MOPOE", ""]
    assert body[0][2] == ""
    assert body[2][3] == "21.00"  # from m2 to m1
    assert body[count][3].strip("*") == "1.10"  # of the second model, from m0 to m1
    assert "**" in body[count][3]
    # raw numbers of all directions, those of several sources and of means too
    lines = list(csv.DictReader(io.StringIO(to_csv(tables["1b"]))))
    assert len(lines) == 2 * len([n for n in GROUPS["coherence"].names(names) if n.sources])
    assert max(len(table.columns) for number, table in tables.items() if not table.matrix) < 40
    assert "tabular" in to_latex(tables["4b"])
    capped = "20 were drawn at random"
    assert (capped in tables["1"].caption) == (capped in tables["1b"].caption) == (count > 6)
    board = build_leaderboard(list(tables.values()), [[run] for run in runs])
    assert not any(column.metric.startswith("cross_coherence/m") for column in board.columns)


def test_retrieval_without_labels_says_what_is_relevant():
    _, runs = many_modalities(4)
    caption = {table.number: table.caption for table in build_tables(runs)}["4"]
    assert "the class of the query" in caption
    for run in runs:
        run.config["classes"] = []
    caption = {table.number: table.caption for table in build_tables(runs)}["4"]
    assert "the item of the query's row alone" in caption
