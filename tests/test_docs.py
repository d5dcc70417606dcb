"""What strangers read: generated pages, the study of the guide, the notebooks, shown commands."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import interp
import studies
from interp import cli, load_model, measures
from interp.core import GPTConfig, HookedGPT, hook_name, processing
from interp.measures import attribution, logit_differences, patching
from interp.measures.roles import REGISTRY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def module(path):
    """A file as a module, by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def generate():
    return module(DOCS / "generate.py")


@pytest.fixture(scope="module")
def methods():
    return module(DOCS / "generate_methods.py")


@pytest.fixture(scope="module")
def benchmarks():
    return module(DOCS / "generate_benchmarks.py")


# ----------------------------------------------------------------------------- generated pages


def test_the_table_of_hook_points_is_that_of_the_model(generate):
    """Oracle: the names that a model with other sizes accepts, and the shapes that it records."""
    model = HookedGPT(GPTConfig(n_layers=3, d_model=23, n_heads=2, d_head=13, n_ctx=9, d_vocab=31))
    sizes = {"batch": 5, "pos": 7, "query_pos": 7, "key_pos": 7, "head": 2, "d_head": 13,
             "d_model": 23, "d_mlp": 92, "1": 1}  # fmt: skip
    _, cache = model.run_with_cache(torch.ones(5, 7, dtype=torch.long), lambda name: True)
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", generate.hook_page(), flags=re.M)
    listed = {name.replace("{l}", "1"): axes.split() for name, axes, _ in rows}
    expected = {name for name in cache if not re.match(r"blocks\.[02]\.", name)}
    assert set(listed) == expected and len(rows) == len(expected)
    for name, axes in listed.items():
        assert tuple(sizes[axis] for axis in axes) == tuple(cache[name].shape), name
    assert all(what.strip() for _, _, what in rows)


def test_the_diagram_names_every_hook_point_once_and_adds_four_times(generate):
    page = generate.hook_page()
    drawn = re.findall(r'class="t">([^<]+)</text>', page)
    assert sorted(drawn) == sorted([*generate.WHAT, "tokens", "logits"])
    # Two embeddings, attention and MLP are added to the stream, at the height of their boxes.
    added = re.findall(r'<circle cx="60" cy="([\d.]+)"', page)
    boxes = dict(re.findall(r'y="([\d.]+)" class="t">([^<]+)</text>', page))
    at = {float(y) - 5: name for y, name in boxes.items()}
    assert [at[float(y)] for y in added] == ["hook_embed", "hook_pos_embed", "hook_attn_out",
                                             "hook_mlp_out"]  # fmt: skip


def test_every_page_is_in_the_navigation(generate):
    nav = (ROOT / "mkdocs.yml").read_text()
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    made = {f"reference/{package}.md" for package in generate.packages()}
    for page in written | made | {"hook-points.md", "benchmarks.md", "reference.md"}:
        assert re.search(rf"[-:] {re.escape(page)}$", nav, flags=re.M), page


# ------------------------------------------------------------------------------------- methods


def test_every_measure_has_a_section_or_a_reason(methods):
    """Oracle: lines of the files that begin a public function or class."""
    modules = {path.stem for path in methods.MEASURES.glob("[!_]*.py")}
    assert sorted(modules) == sorted(name for theme in methods.THEMES.values() for name in theme)
    reasons, unused = methods.helpers(), set(methods.helpers())
    for theme, names in methods.THEMES.items():
        found = methods.sections((methods.PAGES / f"{theme}.md").read_text())
        told = [name for section in found for name in section.names]
        files = [(methods.MEASURES / f"{name}.py").read_text() for name in names]
        pattern = r"^(?:def|class) ([A-Za-z]\w*)"
        here = {name for text in files for name in re.findall(pattern, text, flags=re.M)}
        assert len(told) == len(set(told)) and set(told) <= here, theme
        assert here - set(told) <= set(reasons), f"{theme}: {here - set(told) - set(reasons)}"
        assert not set(told) & set(reasons), theme
        unused -= here
    assert not unused


def test_every_section_has_formula_null_failure_and_source(methods):
    n = 0
    for theme in methods.THEMES:
        text = (methods.PAGES / f"{theme}.md").read_text()
        for section in methods.sections(text):
            assert list(section.points) == ["Formula", "Null", "Misleads", "Source"], section.title
            assert all(len(point) > 3 for point in section.points.values()), section.title
            n += 1
        assert len(re.findall(r"^- \*\*Formula\*\*", text, flags=re.M)) == len(
            methods.sections(text)
        ), f"{theme}: a section's line of functions is not read"
    assert n > 90


def test_sections_are_read_as_they_are_written(methods):
    one = "## One\n\n`a` `b_2`\n`c`\n\n- **Formula**: x\n  y\n- **Null**: z\n"
    text = f"# A\n\nProse.\n\n{one}\n## Two\n\nNo.\n"
    assert methods.sections(text) == [
        methods.Section("One", ["a", "b_2", "c"], {"Formula": "x\n  y\n", "Null": "z\n"})
    ]


def test_the_table_of_roles_is_that_of_the_registry():
    text = (DOCS / "methods" / "heads.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .+? \| .+? \| ([\d.]+) \|", text, flags=re.M)
    assert {name: float(least) for name, least in rows} == {
        name: role.smallest_effect for name, role in REGISTRY.items()
    }


def test_a_page_about_methods_links_each_function_to_its_module(methods):
    page = methods.method_page("positions", (DOCS / "methods" / "positions.md").read_text())
    for name, where in (("position_probe", "position_probing"), ("subspace_overlap", "positions")):
        assert f"(../reference/measures.md#interp.measures.{where}.{name})" in page
    assert "draws a null for a section above: [`null_positions`]" in page
    index = methods.method_page("index", "")
    assert "| `direct_attribution` | [Direct logit attribution](attribution.md#direct-" in index


# ---------------------------------------------------------------------------------- benchmarks


def figure(text):
    """The number at the start of a cell, or in "at least N"."""
    return float(re.search(r"[\d.]+(?:e-?\d+)?", text.replace(",", ""))[0])


@pytest.fixture(scope="module")
def one_table(benchmarks):
    """The table as a reader sees it: from the page's text, not from the code's rows."""
    head, _, *body = [line for line in benchmarks.benchmark_page().split("\n## ")[0].splitlines()
                      if line.startswith("|")]  # fmt: skip
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]
    return pd.DataFrame(cells, columns=[cell.strip() for cell in head.strip("|").split(" | ")])


def results(stem):
    return pd.read_csv(ROOT / "benchmarks" / "results" / f"{stem}.csv")


def expected_times():
    """What the files say, by pandas: (what starts with, against, peer over ours, bar or NaN)."""
    for row in results("patching").itertuples():
        yield row.sweep, "TransformerLens at its defaults", row.peer_s / row.ours_s, row.bar_default
        by_hand = row.by_hand_s / row.ours_s
        yield row.sweep, "TransformerLens batched by hand", by_hand, row.bar_by_hand
    for row in results("speed").itertuples():
        bar = pd.to_numeric(row.bar, errors="coerce")
        if "python" not in row.peer:
            yield row.what, row.peer, 1 / row.ratio, 1 / bar  # the file has ours over the peer's
    for row in results("head_roles").itertuples():
        yield "all head roles", row.against, row.peer_s / row.roles_s, 1 / row.bar
    for row in results("attribution").itertuples():
        yield f"attribution: {row.what}", "TransformerLens", row.peer_s / row.ours_s, row.bar
    for row in results("lenses").itertuples():
        asked = f"TransformerLens, asked for {row.peer_asked_for}"
        yield "logit lens", asked, row.peer_s / row.ours_s, row.bar
    for row in results("analogies").dropna(subset="gensim_s").itertuples():
        yield row.task, "gensim", row.gensim_s / row.ours_s, 5.0
    for row in results("circuits").iloc[1:].itertuples():
        yield row.what, row.peer, row.peer_value / row.ours, figure(row.bar)
    for row in results("sweep").query("workers == 2").itertuples():
        yield f"2 workers of a sweep, engine {row.engine}", "one worker", row.times_one_worker, 1.7


def test_the_one_table_says_what_the_files_say(one_table):
    for what, against, times, bar in expected_times():
        rows = one_table[one_table["what"].str.startswith(what)
                         & one_table["against"].str.startswith(against)
                         & ~one_table["what"].str.contains("memory")]  # fmt: skip
        assert len(rows) == 1, (what, against)
        row = rows.iloc[0]
        assert figure(row["times better"]) == pytest.approx(times, rel=6e-3), what
        if pd.isna(bar):
            assert (row["bar"], row["met?"]) == ("–", "no bar")
            continue
        assert figure(row["bar"]) == pytest.approx(bar, rel=6e-3), what
        assert row["met?"] == ("yes" if times >= bar * (1 - 1e-3) else "**no, missed**"), what


def test_limits_of_the_one_table_are_those_of_the_files(one_table):
    patching, parity = results("patching"), results("parity")
    rate = one_table[one_table["what"].str.endswith("matrix-product rate")]
    assert rate["ours"].map(figure).tolist() == patching["rate"].tolist()
    off = one_table[one_table["what"].str.contains("over the largest effect")]
    missed = patching["difference_over_largest_effect"] > 1e-5
    with_bar = patching["bar_default"].notna()
    assert (off["met?"] == "**no, missed**").tolist() == (missed & with_bar).tolist()
    own = parity[parity["note"].isna()]
    for peer, rows in own.groupby("peer"):
        of_peer = one_table[one_table["against"] == peer]
        worst = rows.query("dtype == 'float32'")["ratio"].max()
        widest = rows.query("dtype == 'float64'")["max_difference"].max()
        narrow, wide = of_peer.iloc[0], of_peer.iloc[1]
        assert figure(narrow["times better"]) == pytest.approx(1 / worst, rel=6e-3)
        assert narrow["met?"] == ("yes" if worst <= 2 else "**no, missed**")
        assert figure(wide["ours"]) == pytest.approx(widest, rel=0.06) and wide["met?"] == "yes"
    loading = results("loading").set_index("way")
    for way, limit in loading["limit"].dropna().items():
        row = one_table[one_table["what"].str.contains(way, regex=False)
                        & (one_table["against"] == "the weights themselves")].iloc[0]  # fmt: skip
        met = loading.loc[way, "peak_over_weights"] <= limit
        assert (row["met?"] == "yes") == met
    for file, what in (("attribution", "shares of all heads"), ("lenses", "logit lens")):
        for of_file in results(file).dropna(subset=["bar"]).itertuples():
            rows = one_table[one_table["what"].str.contains(f"{what}.*extra memory")]
            assert figure(rows.iloc[0]["ours"]) == pytest.approx(of_file.ours_mib, rel=6e-3)
            assert rows.iloc[0]["met?"] == ("yes" if of_file.ours_mib <= of_file.bar_mib else "")


def test_the_sentence_above_the_table_counts_it(benchmarks, one_table):
    said = re.search(r"Of (\d+) bars, (\d+) are met and (\d+) missed", benchmarks.benchmark_page())
    met = one_table["met?"]
    counted = [int((met != "no bar").sum()), int((met == "yes").sum())]
    assert [*map(int, said.groups())] == [*counted, counted[0] - counted[1]]
    assert set(met) <= {"yes", "no bar", "**no, missed**"}
    # Every row of every file is in it, some of them more than once.
    stems = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.csv")}
    assert stems <= set(benchmarks.READERS) and stems <= set(benchmarks.ABOUT)


def test_a_row_has_one_direction(benchmarks):
    Row = benchmarks.Row
    less, more = Row("a", "p", 2.0, 10.0, bar=5.0), Row("a", "p", 10.0, 4.0, bar=3, better="more")
    assert (less.times, less.met) == (5.0, True) and (more.times, more.met) == (2.5, False)
    limit = Row("a", "", 3.0, None, "MiB", 3.0, True)
    assert (limit.times, limit.met) == (None, True)
    assert Row("a", "", 3.1, None, "MiB", 3.0, True).met is False
    assert Row("a", "", 0.5, None, "", 0.6, True, "more").met is False
    assert Row("a", "p", 1.0, 2.0).met is None and Row("a", "p", 1.0, 2.0).cells()[6] == "no bar"
    assert [benchmarks.shown(x) for x in (0.0, 4.59349, 9635.0, 3.4e-6)] == ["0", "4.59", "9,635",
                                                                          "3.4e-06"]  # fmt: skip


def test_whole_commands_have_limits_of_their_own(benchmarks, tmp_path):
    """Made-up rows: one limit met, one missed, none declared."""
    header = "what,seconds,bar_s,peak_mib,bar_mib,cores,load,machine,torch,python\n"
    cells = "interp report,119.0,120.0,2049,2048.0,2,0.3,x86_64,2.13.0,3.11\n"
    (tmp_path / "commands.csv").write_text(header + cells + "interp doctor,5,,300,,2,0.3,a,b,c\n")
    rows = [row.cells() for row in benchmarks.comparisons(tmp_path)]
    assert [row[6] for row in rows] == ["yes", "**no, missed**", "no bar", "no bar"]
    assert rows[1][0] == "interp report: memory" and rows[1][7] == "2 cores, load 0.3"
    page = benchmarks.benchmark_page(tmp_path)
    assert "Of 2 bars, 1 are met and 1 missed.\nMissed: interp report: memory: 2,049" in page


def test_a_gpu_stands_beside_its_own_cpu(benchmarks, tmp_path):
    """There may be no file of a GPU here; its rows are made up."""
    header = "what,device,dtype,seconds,error,gpu,cuda,torch,machine\n"
    cells = "forward 8x16,{},{},{},1e-6,Some GPU,13.0,2.13.0,x86_64\n"
    made = (("cuda", "float32", 0.01), ("cuda", "bfloat16", 0.004), ("cpu", "float32", 0.5))
    (tmp_path / "cuda.csv").write_text(header + "".join(cells.format(*row) for row in made))
    rows = benchmarks.comparisons(tmp_path)
    assert [round(row.times) for row in rows] == [50, 125] and rows[0].where == "Some GPU"


def test_a_table_says_once_what_is_the_same_in_every_row(benchmarks):
    made = benchmarks.table([["what", "s", "torch"], ["a|b", "1", "2.13"], ["c", "2", "2.13"]])
    assert made.splitlines() == [
        "| what | s |", "| --- | --- |", "| a\\|b | 1 |", "| c | 2 |", "",
        "In every row: torch 2.13.",
    ]  # fmt: skip


# ------------------------------------------------------------------ coming from TransformerLens


def rows_of_the_translation():
    text = (DOCS / "transformerlens.md").read_text()
    for left, right in re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", text, flags=re.M):
        if "`" in left or "`" in right:
            yield left, re.findall(r"`([^`]+)`", left), re.findall(r"`([^`]+)`", right)


def test_names_on_the_left_exist_in_transformer_lens():
    """Looked up in its source, which is not imported: that takes seconds."""
    folder = Path(importlib.util.find_spec("transformer_lens").origin).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    words = set(re.findall(r"\w+", source))
    for _, names, _ in rows_of_the_translation():
        for name in names:
            assert set(re.findall(r"[A-Za-z_]\w+", name.partition("(")[0])) <= words, name


def test_what_stands_on_the_right_runs():
    """Every expression is evaluated; of names alone it is enough that they exist."""
    small = load_model("small")
    tokens, _ = small.to_tokens(["the calm creature", "the shy creature"])
    right = torch.tensor([small.tokenizer.ids[word] for word in ("sleeps", "hides")])
    wrong = right.flip(0)
    prompt = tokens[:1]
    repeats = [tokens[0, :1].tolist() + [*range(20, 28)] * 2 for _ in range(14)]
    known = {
        "interp": interp, "GPTConfig": GPTConfig, "load_model": load_model, "measures": measures,
        "hook_name": hook_name, "processing": processing, "attribution": attribution,
        "logit_differences": logit_differences, "patching": patching, "model": small,
        "text": "the calm creature", "tokens": prompt, "ids": prompt[0].tolist(),
        "token": int(prompt[0, 1]), "cache": small.run_with_cache(prompt, lambda name: True)[1],
        "clean": tokens, "pairs": patching.Pairs(tokens, tokens.flip(0)),
        "metric": patching.logit_diff(right, wrong, position=3), "hook": lambda value, point: None,
        "target": right[:1], "contrast": wrong[:1], "words": np.arange(30, 60),
        "directions": torch.randn(3, small.config.d_model),
        "suites": [measures.suite_from_prompts(small, repeats)],
    }  # fmt: skip
    not_here = ('load_model("gpt2")', "load_model(bridge)")
    n = 0
    for _, _, codes in rows_of_the_translation():
        for code in codes:
            if code not in not_here and not code.startswith("interp probe"):
                assert eval(code, {}, known) is not None, code
                n += 1
    assert n > 50


# --------------------------------------------------------------------------- guide for contributors


def test_the_table_of_layers_is_that_of_the_test():
    """Oracle: what `test_layers` forbids, read from its source."""
    groups = {"drawing": {"matplotlib", "seaborn"}, "Hugging Face": {"transformers",
              "transformer_lens"}}  # fmt: skip
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| .+ \|(.*)\|$", text, flags=re.M)
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text())
    assigned = {
        node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)
    }
    forbidden = ast.literal_eval(assigned["FORBIDDEN"])
    folders = [path.parent.name for path in (ROOT / "interp").glob("*/__init__.py")]
    assert [name for name, _ in rows] == sorted(folders)
    for name, never in rows:
        words = [word.strip() for word in never.split(",") if word.strip()]
        told = set().union(*(groups.get(word, {word}) for word in words))
        assert told == forbidden.get(name, set()), name


# --------------------------------------------------------------------------------------- README


def test_the_result_in_the_readme_is_that_of_the_report():
    """Oracle: the report's own tables."""
    text = " ".join((ROOT / "README.md").read_text().split())
    folder = ROOT / "reports" / "small"
    tables = {path.stem: pd.read_csv(path) for path in folder.glob("head_roles/tables/*.csv")}
    labels, overview = tables["labels"], tables["overview"].iloc[0]
    heads = len(labels[["layer", "head"]].drop_duplicates())
    assert f"**{heads} of {overview['n_heads']} heads hold a role**, {len(labels)} labels" in text
    assert f"among {overview['n_tests']} tests, each on {overview['n_units']} prompts" in text
    assert f"with random weights, {tables['random_init']['label'].sum()} labels" in text
    confirmed = int((labels["verdict"] == "confirmed").sum())
    assert f"**{confirmed} of the {len(labels)} labels survive ablation**; the other" in text
    best = labels.iloc[0]
    assert f"**{best['name']} finds the subject" in text and best["role"] == "agreement"
    assert f"{best['score']:.3f} of its attention on the head noun, {best['control']:.3f}" in text
    assert f"of the difference: {best['ci_low']:.3f} to {best['ci_high']:.3f}" in text
    lost = best[["effect_zero", "effect_mean", "effect_resample"]]
    assert f"loses {lost.min():.1f} to {lost.max():.1f} of its log odds" in text
    claims = pd.read_csv(folder / "claims.csv")
    found = claims["verdict"].value_counts()
    assert f"{claims['claim'].nunique()} claims** have {len(claims)} findings" in text
    assert (
        f"{found['holds']} hold, {found['imprecise']} are imprecise, {found['fails']} fail" in text
    )
    assert f"{found['undecided']} is undecided, {found['not applicable']} does not apply" in text


# ------------------------------------------------------------------------------ guide, notebooks


def test_the_study_of_the_guide_runs_and_is_short(tmp_path):
    path = DOCS / "examples" / "look_back.py"
    assert len(path.read_text().splitlines()) < 60
    # As the snippet extension wants it; a formatter that takes it for Python breaks it.
    assert f'\n--8<-- "{path.name}"\n' in (DOCS / "own-study.md").read_text()
    study = module(path)
    result = study.run(load_model("small"), study.Config(n_prompts=6))
    frame = result.table("layers")
    assert (frame["ci_low"] <= frame["mean_lag"]).all() and (frame["random"] > 10).all()
    page = (result.save(tmp_path) / "report.html").read_text()
    assert "Do later layers look further back?" in page
    assert issubclass(study.Config, studies.StudyConfig)


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    """Cell by cell, as plain Python; no weights are fetched."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown"
    threads, names = torch.get_num_threads(), {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            code = compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec")
            exec(code, names)
    torch.set_num_threads(threads)


# -------------------------------------------------------------------------------- shown commands

PAGES = (*sorted(DOCS.rglob("*.md")), ROOT / "README.md")


def commands():
    """Every `interp ...` line of a code block, comments and continuations resolved."""
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("interp "):
                    yield pytest.param(line, id=f"{page.stem}: {line[:60]}")


@pytest.mark.parametrize("line", [*commands()])
def test_a_shown_command_is_understood(line, monkeypatch):
    """It parses, and its options exist; nothing is run."""
    import shlex

    words = shlex.split(line, comments=True)[1:]
    command = cli._parse(words)
    assert command is not None
