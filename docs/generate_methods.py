"""The pages about methods: what they cover, links to the reference, and what they leave out.

A section about a measure is a heading, a line of functions, and four points: formula, null, how it
misleads, source. Every public function of `interp.measures` stands in such a line, or in `HELPERS`
with the reason why it has no section.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MEASURES = ROOT / "interp" / "measures"
PAGES = ROOT / "docs" / "methods"

THEMES = {
    "tokens": ("tokenization", "words"),
    "embeddings": ("embeddings", "directions", "analogies", "similarity", "bias_tests",
                   "word_classes", "cooccurrence", "steering"),
    "contextual": ("contextual", "context_similarity", "layer_probes"),
    "positions": ("positions", "position_probing"),
    "heads": ("roles", "cells", "detectors", "stimuli", "scenes", "language_scenes", "readout",
              "descriptors", "patterns", "ablation", "verdicts"),
    "mask": ("masking", "other_masks", "sinks", "sink_causes", "context"),
    "circuits": ("circuits", "copying", "composition", "spectra", "factored", "gauge",
                 "score_sources", "simpler_matrices"),
    "architecture": ("parameters", "rearrangement", "cross_attention"),
    "lens": ("lenses", "lens_readings", "trained_lenses", "lens_nulls"),
    "attribution": ("attribution", "erasure", "saliency", "logit_differences"),
    "patching": ("patching", "pairs", "branches", "attribution_patching", "edge_attribution",
                 "metric_gradients", "ablating", "circuit_tests", "circuit_curves", "effects"),
    "unembedding": ("unembedding", "readouts", "temperature", "calibration", "sampling",
                    "decoding", "texts"),
    "training": ("training_metrics", "seeds"),
    "statistics": ("statistics", "resampling"),
}  # fmt: skip

HELPERS = {  # by why no section is about them
    "holds inputs, settings or results": """
        CausalInnerProduct WordUses CuePair SteeringReadout Move Role Side RoleCells PromptBatch
        PromptSet Asked Scene Suite UnitValues Divergence WeightAndUse Task HeadWeights Bases SVD
        FactoredMatrix SplitScores Depth Source Metric Pairs AlignedRun BaseRun Entry Ends
        FoldedUnembedding Readout""",
    "says what there is, or checks what is asked for": """
        chosen_roles head_columns missing_roles behaviour_of ordinary_tokens windows_by_length
        sink_layers layer_weights vocabulary in_chunks layer_groups depths_of layer_depths
        row_chunks check_prompts check_answers check_heads component_name all_components cell_name
        runs_of checked about gpt2_config check_temperature arrangements_of as_tensors token_of""",
    "makes prompts or other versions of them": """
        random_token_prompts text_prompts suite_of pair_scene suite_from_prompts language_suite
        successors answers_of answers_scene moved_bos swapped_sources shuffled_sources
        exchanged_nouns another_prompt temperature_texts all_questions same_sense_halves""",
    "marks the cells of a role, in the table of roles": """
        lag_cells local_cells first_token_cells position_sink_cells bos_sink_cells match_cells
        pair_cells""",
    "changes a model or a mask for the length of a measurement": """
        masked_as dilated_mask first_keys_mask intervention ablation_hooks blocking_hooks
        attention_copy in_notes_order""",
    "draws a null for a section above": """
        random_pairs null_scores null_draws frequency_pools null_positions random_directions
        random_merges random_mask shuffled_weights ShuffledLens RotatedLens UnnormedLens
        ConstantLens equal_noise unigram_texts diagonal_pattern other_links""",
    "is a step of a section above": """
        widened unit_rows centred principal_axes pair_differences mean_direction pair_scores
        relation_vector prompt_vectors word_vectors byte_characters readable word_counts by_unit
        ov_singular_values token_inputs before_unembedding token_outputs unembedded readings
        answer_metric logit_directions run_branches position_map""",
}

POINTS = ("Formula", "Null", "Misleads", "Source")
NAMES = re.compile(r"`\w+`(?:\s`\w+`)*")


class Section(NamedTuple):
    """One measure on a page.

    Attributes:
        title: its heading.
        names: functions that it is about.
        points: text by point.
    """

    title: str
    names: list[str]
    points: dict[str, str]


def sections(text: str) -> list[Section]:
    """The sections of a page that are about measures."""
    found = []
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, names, rest = (*part.split("\n\n", 2), "", "")[:3]
        if NAMES.fullmatch(names.strip()):
            points = re.findall(r"^- \*\*(\w+)\*\*: ((?:.+\n?)(?:^  .+\n?)*)", rest, flags=re.M)
            found.append(Section(title, re.findall(r"\w+", names), dict(points)))
    return found


def helpers() -> dict[str, str]:
    """Why a name has no section of its own."""
    return {name: reason for reason, names in HELPERS.items() for name in names.split()}


# ------------------------------------------------------------------------------------- the code


def public(path: Path) -> list[tuple[str, str]]:
    """Public functions and classes of a module, with the first lines of their docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.ClassDef
    return [
        (node.name, (ast.get_docstring(node) or "").partition("\n")[0])
        for node in tree.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def names_of(theme: str) -> dict[str, str]:
    """The module of each public name of a theme."""
    return {
        name: module for module in THEMES[theme] for name, _ in public(MEASURES / f"{module}.py")
    }


# ------------------------------------------------------------------------------------ the pages


def method_page(theme: str, text: str) -> str:
    """A page with its functions linked to the reference, and the helpers at its end."""
    if theme == "index":
        return text + index_of_measures()
    known = names_of(theme)

    def linked(match: re.Match) -> str:
        return " ".join(_link(known, name) for name in re.findall(r"\w+", match[0]))

    text = re.sub(rf"(?<=\n\n)(?:{NAMES.pattern})(?=\n\n- \*\*)", linked, text)
    covered = {name for section in sections(text) for name in section.names}
    reasons = helpers()
    left: dict[str, list[str]] = {}
    for name in known:
        if name in reasons and name not in covered:
            left.setdefault(reasons[name], []).append(_link(known, name))
    lines = ["", "## Helpers", ""]
    lines += [f"- {reason}: {', '.join(links)}" for reason, links in left.items()]
    return text + "\n".join([*lines, ""]) if left else text


def _link(known: dict[str, str], name: str) -> str:
    return f"[`{name}`](../reference/measures.md#interp.measures.{known[name]}.{name})"


def index_of_measures() -> str:
    """Every measure by name, with the section that is about it."""
    rows = []
    for theme in THEMES:
        for section in sections((PAGES / f"{theme}.md").read_text(encoding="utf-8")):
            place = f"[{section.title}]({theme}.md#{slug(section.title)})"
            rows += [(name, place) for name in section.names]
    lines = [f"| `{name}` | {place} |" for name, place in sorted(rows)]
    return "\n".join(["", "## By name", "", "| function | section |", "|---|---|", *lines, ""])


def slug(title: str) -> str:
    """The anchor that Python-Markdown gives a heading."""
    from markdown.extensions.toc import slugify

    return slugify(title, "-")
