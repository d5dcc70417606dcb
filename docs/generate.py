"""Pages that are made from the code when the documentation is built, so that they cannot age.

`hook-points.md` from a model that is run, `benchmarks.md` from `benchmarks/results/*.csv`
(`generate_benchmarks`), the API reference from the packages' own names, and on the pages about
methods links to it (`generate_methods`). MkDocs calls `on_files` and `on_page_markdown`;
`python docs/generate.py PAGE` prints one page.
"""

import ast
import html
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # MkDocs loads this file by its path

from generate_benchmarks import benchmark_page  # noqa: E402
from generate_methods import method_page, public  # noqa: E402

PACKAGES = ("core", "corpus", "learning", "loading", "measures", "planted", "plots", "reporting",
            "scaling")  # fmt: skip

# ------------------------------------------------------------------------------------ hook points

WHAT = {
    "hook_embed": "token embedding",
    "hook_pos_embed": "position embedding",
    "hook_resid_pre": "residual stream before the block",
    "ln1.hook_scale": "divisor of the norm before attention",
    "ln1.hook_normalized": "stream after that division, before weight and bias",
    "attn.hook_q": "queries, bias included",
    "attn.hook_k": "keys, bias included",
    "attn.hook_v": "values, bias included",
    "attn.hook_attn_scores_raw": "scores divided by √d_head, **before the mask**",
    "attn.hook_attn_scores": "scores, masked entries −∞",
    "attn.hook_pattern": "attention weights; rows sum to 1",
    "attn.hook_z": "values mixed by the pattern, before `W_O`",
    "attn.hook_result": "what each head writes (formed only if asked for)",
    "hook_attn_out": "what attention writes, `b_O` included",
    "hook_resid_mid": "stream between attention and MLP",
    "ln2.hook_scale": "divisor of the norm before the MLP",
    "ln2.hook_normalized": "stream after that division",
    "mlp.hook_pre": "hidden values before the activation function",
    "mlp.hook_post": "hidden values after it",
    "hook_mlp_out": "what the MLP writes",
    "hook_resid_post": "stream after the block",
    "ln_final.hook_scale": "divisor of the final norm",
    "ln_final.hook_normalized": "stream after that division",
}
SIZES = {"batch": 2, "pos": 3, "head": 5, "d_head": 7, "d_model": 17, "d_mlp": 11}  # told apart


def hook_points() -> list[tuple[str, list[str]]]:
    """Every hook point of a model of one block, in the order of the pass, and its axes."""
    import torch

    from interp.core import GPTConfig, HookedGPT

    sizes = {key: SIZES[key] for key in ("d_head", "d_model", "d_mlp")}
    model = HookedGPT(GPTConfig(n_layers=1, n_heads=SIZES["head"], n_ctx=4, d_vocab=13, **sizes))
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.ones(SIZES["batch"], SIZES["pos"], dtype=torch.long),
                                        lambda name: True)  # fmt: skip
    order = list(WHAT)
    names = sorted(cache, key=lambda name: order.index(short(name)))
    return [(name, axes(name, tuple(cache[name].shape))) for name in names]


def short(name: str) -> str:
    """The name without its block."""
    return name.removeprefix("blocks.0.")


def axes(name: str, shape: tuple[int, ...]) -> list[str]:
    """The names of a value's axes; the two of a pattern are queries and keys."""
    named = {size: axis for axis, size in SIZES.items()} | {1: "1"}
    found = [named[size] for size in shape]
    if found.count("pos") == 2:
        found[-2:] = ["query_pos", "key_pos"]
    return found


def hook_page() -> str:
    """The diagram and the table."""
    points = hook_points()
    rows = []
    for name, found in points:
        shown = name.replace("blocks.0", "blocks.{l}")
        rows.append(f"| `{shown}` | `{' '.join(found)}` | {WHAT[short(name)]} |")
    return "\n".join(
        [
            "# Hook points",
            "",
            "Made from a model that is run when this page is built. Names are",
            "TransformerLens's; `attn.hook_attn_scores_raw` is the one that it lacks. `{l}` is the",
            "block, from 0. Without a hook on scores or pattern, attention runs through PyTorch's",
            "fused kernel and neither is formed; a cache forms them when they are first read.",
            "",
            diagram([short(name) for name, _ in points]),
            "",
            "| hook | axes | what |",
            "|---|---|---|",
            *rows,
            "",
            'In a cache, `cache["pattern", 2]` is `cache["blocks.2.attn.hook_pattern"]`. Weights',
            "have TransformerLens's names and orientation, rows = source side: `resid @ W_V`.",
            "",
        ]
    )


STEP = 34  # height of a line
STREAM, LEFT, BRANCH, WIDTH = 60, 150, 400, 316  # the stream, boxes beside it, boxes of branches
THIRDS = {"attn.hook_q": 0, "attn.hook_k": 1, "attn.hook_v": 2}  # side by side
WRITES = ("hook_embed", "hook_pos_embed", "hook_attn_out", "hook_mlp_out")
STYLE = (
    ".stream{stroke:#0072B2;stroke-width:4}.tie{stroke:#0072B2;stroke-width:2;fill:none}"
    ".add{fill:#0072B2;stroke:none}.block{fill:none;stroke:currentColor;stroke-dasharray:4 4}"
    ".box{fill:none;stroke:currentColor}.t{font:13px monospace;fill:currentColor}"
    ".note{font:italic 13px sans-serif;fill:currentColor}.plus{font:bold 16px monospace;fill:#fff}"
    "[data-md-color-scheme=slate] :is(.stream,.tie){stroke:#56B4E9}"
    "[data-md-color-scheme=slate] .add{fill:#56B4E9}[data-md-color-scheme=slate] .plus{fill:#000}"
)


def diagram(names: list[str]) -> str:
    """The stream runs down; a branch reads it and its last box is added to it."""
    places, y = {}, 40 - STEP
    for name in names:
        y += STEP * (THIRDS.get(name, 0) == 0)
        places[name] = y
    parts = [part(name, y) for name, y in places.items()]
    values, mixed = places["attn.hook_v"], places["attn.hook_z"]
    beside = BRANCH + WIDTH + 14
    parts.append(path(f"M{BRANCH + WIDTH} {values} H{beside} V{mixed} H{BRANCH + WIDTH + 3}"))
    top, end = places["hook_resid_pre"] - STEP / 2, places["hook_resid_post"] + STEP / 2
    middle, stop, y = BRANCH + WIDTH / 2, places["ln_final.hook_scale"], y + 2 * STEP
    parts.append(
        f'<rect x="8" y="{top}" width="{beside + 8}" height="{end - top}" rx="8" class="block"/>'
        + note(LEFT, top + 100, "a block; the next one starts")
        + note(LEFT, top + 118, "at its hook_resid_pre again")
        + note(middle + 10, y - STEP + 2, "W_U, b_U")
        + path(f"M{middle} {y - 2 * STEP + 12} V{y - 14}")
        + f'<text x="{middle - 24}" y="{y + 4}" class="t">logits</text>'
        '<text x="36" y="14" class="t">tokens</text>'
    )
    return (
        f'<svg viewBox="0 0 {beside + 24} {y + 14}" role="img" style="max-width:46rem" '
        'aria-label="The residual stream runs down. Token and position embedding are added to it. '
        "Each block reads it twice, through a norm, and adds what attention and MLP write. The "
        'table below names every hook point in this order."><defs><marker id="to" '
        'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" class="add"/></marker></defs><style>{STYLE}</style>'
        f'<line x1="60" y1="20" x2="60" y2="{stop + 2}" class="stream"/>{"".join(parts)}</svg>'
    )


def part(name: str, y: int) -> str:
    """A box, and how it hangs together with the stream or with the box above it."""
    third = THIRDS.get(name)
    if third is not None:
        at = BRANCH + third * 108
        return box(name, at, y, 100) + path(f"M{at + 50} {y - STEP + 12} V{y - 14}")
    branch = name.startswith(("ln", "attn.", "mlp.")) or name in ("hook_attn_out", "hook_mlp_out")
    x, width = (BRANCH, WIDTH) if branch else (LEFT, 200)
    made = box(name, x, y, width)
    if branch and not name.endswith("hook_scale"):
        # Scores come from queries and keys, not from values.
        middles = (50, 158) if name.endswith("scores_raw") else (WIDTH / 2,)
        made += "".join(path(f"M{x + at} {y - STEP + 12} V{y - 14}") for at in middles)
    if name in WRITES:
        made += path(f"M{x} {y} H{STREAM + 16}") + (
            f'<circle cx="{STREAM}" cy="{y}" r="11" class="add"/>'
            f'<text x="{STREAM - 5}" y="{y + 5}" class="plus">+</text>'
        )
    elif name.endswith("hook_scale"):
        made += path(f"M{STREAM} {y} H{x - 3}")
    elif not branch:
        made += f'<path d="M{STREAM} {y} H{x}" class="tie"/>'
    return made


def box(name: str, x: float, y: int, width: int) -> str:
    """A name in a frame."""
    return (
        f'<rect x="{x}" y="{y - 12}" width="{width}" height="24" rx="4" class="box"/>'
        f'<text x="{x + 7}" y="{y + 5}" class="t">{html.escape(name)}</text>'
    )


def path(steps: str) -> str:
    """A line that ends in an arrow."""
    return f'<path d="{steps}" class="tie" marker-end="url(#to)"/>'


def note(x: float, y: float, text: str) -> str:
    """A remark; no hook point."""
    return f'<text x="{x}" y="{y}" class="note">{text}</text>'


# --------------------------------------------------------------------------------------- reference


def modules(package: str) -> list[Path]:
    """The public modules of a package."""
    folder = ROOT / "interp" / package
    return sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))


def reference_page(package: str) -> str:
    """A package's docstring, and every public function and class in it."""
    about = ast.get_docstring(ast.parse((ROOT / "interp" / package / "__init__.py").read_text()))
    parts = [f"# interp.{package}", "", (about or "").partition("\n\n")[0], ""]
    for path in modules(package):
        if public(path):
            parts += [f"::: interp.{package}.{path.stem}", ""]
    return "\n".join(parts)


def reference_index() -> str:
    """The list of packages."""
    rows = []
    for package in packages():
        tree = ast.parse((ROOT / "interp" / package / "__init__.py").read_text())
        first = (ast.get_docstring(tree) or "").partition("\n")[0]
        rows.append(f"- [`interp.{package}`](reference/{package}.md): {first}")
    return "\n".join(["# Reference", "", *rows, ""])


def packages() -> list[str]:
    """The packages that exist."""
    return [name for name in PACKAGES if (ROOT / "interp" / name / "__init__.py").exists()]


# ------------------------------------------------------------------------------------------- mkdocs


def pages() -> dict[str, str]:
    """The generated pages by path."""
    made = {"hook-points.md": hook_page(), "benchmarks.md": benchmark_page()}
    made["reference.md"] = reference_index()
    for package in packages():
        made[f"reference/{package}.md"] = reference_page(package)
    return made


def on_files(files, config):
    """MkDocs: adds the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """MkDocs: functions of a page about methods are linked to the reference."""
    path = Path(page.file.src_uri)
    return method_page(path.stem, markdown) if path.parent.name == "methods" else markdown


if __name__ == "__main__":
    print(pages()[sys.argv[1]])
