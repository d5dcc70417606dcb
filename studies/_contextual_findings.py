"""Findings of the study of contextual embeddings, from its tables."""

from interp.reporting import Finding, Sentence
from studies._attention_figures import cells_of
from studies._contextual_figures import Tables, row_of
from studies.contextual_embeddings import MARGIN


def conclude(tables: Tables) -> tuple[Finding, ...]:
    """What the numbers say of claims 26, 28, 30, 31 and 32."""
    return (
        _on_polysemy(tables),
        _on_pictures(tables),
        _on_first_layer(tables),
        _on_adjusting(tables),
        _on_evaluation(tables),
    )


def _on_polysemy(tables: Tables) -> Finding:
    row = row_of(tables, "senses_overview")
    above_random = row["ci_low"] > row["random_high"] + MARGIN
    if above_random and row["above_bag_low"] > MARGIN:
        verdict = "holds"
    elif above_random:
        verdict = "imprecise"
    else:
        verdict = "fails" if row["ci_high"] < 0.5 + 2 * MARGIN else "undecided"
    return Finding(
        26,
        verdict,
        Sentence(
            "At layer {layer} a use lies nearer to its own sense in {auc:.2f} of comparisons (95 % "
            "interval {ci_low:.2f} to {ci_high:.2f}, {n} cues of senses); the words before alone "
            "give {bag:.2f}, random weights {random_auc:.2f}, and the embedding {first_auc:.2f}.",
            **cells_of(
                "senses_overview",
                "layer",
                "auc",
                "ci_low",
                "ci_high",
                "n",
                "bag",
                "random_auc",
                "first_auc",
            ),
        ).text(tables),
        value=row["auc"],
        unit="share of comparisons won by the own sense",
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        null=row["bag"],
        null_name="mean embedding of the words before, no model",
        n=row["n"],
        figure="senses_by_layer",
    )


def _on_pictures(tables: Tables) -> Finding:
    pca, tsne = row_of(tables, "picture"), row_of(tables, "picture", 1)
    shown = min(pca["ci_low"], tsne["ci_low"]) > pca["shuffled"] + MARGIN
    true = abs(pca["nearest_same"] - pca["nearest_same_picture"]) <= MARGIN
    return Finding(
        28,
        ("holds" if true else "imprecise") if shown else "fails",
        Sentence(
            "In the PCA picture {pca:.2f} of the uses of “mole” have a neighbour of their sense, "
            "in t-SNE {tsne:.2f}, before projection {before:.2f}; chance is {shuffled:.2f}, and "
            "random weights give {r_pca:.2f} and {r_tsne:.2f}. PCA keeps {kept:.2f} of the "
            "variance, t-SNE no distance.",
            **cells_of(
                "picture", "shuffled", "kept", pca="nearest_same_picture", before="nearest_same"
            ),
            **cells_of("picture", row=1, tsne="nearest_same_picture"),
            **cells_of("picture", row=2, r_pca="nearest_same_picture"),
            **cells_of("picture", row=3, r_tsne="nearest_same_picture"),
        ).text(tables),
        value=pca["nearest_same_picture"],
        unit="share of points beside one of their sense (PCA)",
        ci_low=pca["ci_low"],
        ci_high=pca["ci_high"],
        null=pca["shuffled"],
        null_name="shuffled labels",
        n=pca["n"],
        figure="picture_of_mole",
    )


def _on_first_layer(tables: Tables) -> Finding:
    row, later = row_of(tables, "identity"), row_of(tables, "identity", 1)
    exact = max(row["deviation"], row["pair_deviation"]) <= row["tolerance"]
    return Finding(
        30,
        "holds" if exact else "fails",
        Sentence(
            "Before the first block “mole” is W_E plus W_pos within {deviation:.2g} in every "
            "context, and two uses differ by their positions alone within {pair_deviation:.2g} "
            "({n_uses} uses); after one block they differ by up to {later:.2f} more.",
            **cells_of("identity", "deviation", "pair_deviation", "n_uses"),
            **cells_of("identity", row=1, later="pair_deviation"),
        ).text(tables),
        value=row["deviation"],
        unit="largest deviation of a coordinate",
        null=later["pair_deviation"],
        null_name="the same pairs after the first block",
        n=row["n_uses"],
        figure="cue_before_or_after",
    )


def _on_adjusting(tables: Tables) -> Finding:
    row = row_of(tables, "senses_overview")
    last = len(tables["similarity"].frame) - 1
    if row["gain_low"] <= MARGIN:
        verdict = "fails" if row["gain_high"] < 2 * MARGIN else "undecided"
    else:
        verdict = "holds" if row["share_high"] < 0.5 else "imprecise"
    return Finding(
        31,
        verdict,
        Sentence(
            "From first to last layer the share of comparisons won by the own sense changes by "
            "{gain:+.2f} (95 % interval {gain_low:+.2f} to {gain_high:+.2f}); block "
            "{largest_block} makes {largest_share:.2f} of that (an even pace: {even_share:.2f}). "
            "Self-similarity above the baseline goes from {start:.2f} to {end:.2f}, with random "
            "weights to {random:.2f}.",
            **cells_of(
                "senses_overview",
                "gain",
                "gain_low",
                "gain_high",
                "largest_share",
                "largest_block",
                "even_share",
            ),
            **cells_of("similarity", start="adjusted"),
            **cells_of("similarity", row=last, end="adjusted", random="random_adjusted"),
        ).text(tables),
        value=row["largest_share"],
        unit="share of the gain that one block makes",
        ci_low=row["share_low"],
        ci_high=row["share_high"],
        null=row["even_share"],
        null_name="an even pace over the blocks",
        n=row["n"],
        figure="senses_by_layer",
    )


def _on_evaluation(tables: Tables) -> Finding:
    intrinsic, extrinsic = row_of(tables, "classes"), row_of(tables, "classes", 1)
    both = all(row["ci_low"] > row["control_high"] for row in (intrinsic, extrinsic))
    one = any(row["ci_low"] > row["control_high"] for row in (intrinsic, extrinsic))
    return Finding(
        32,
        "holds" if both else "imprecise" if one else "fails",
        Sentence(
            "By themselves, words of one class are nearer in {intrinsic:.2f} of comparisons "
            "(random classes {i_control:.2f}); a linear probe sorts {extrinsic:.2f} of left-out "
            "words right (95 % interval {ci_low:.2f} to {ci_high:.2f}; random classes "
            "{e_control:.2f}; {n_words} words in {n_classes} classes).",
            **cells_of("classes", intrinsic="value", i_control="control"),
            **cells_of(
                "classes",
                "ci_low",
                "ci_high",
                "n_words",
                "n_classes",
                row=1,
                extrinsic="value",
                e_control="control",
            ),
        ).text(tables),
        value=extrinsic["value"],
        unit="share of left-out words sorted right",
        ci_low=extrinsic["ci_low"],
        ci_high=extrinsic["ci_high"],
        null=extrinsic["control"],
        null_name="the same probe on random classes",
        p=extrinsic["p"],
        n=extrinsic["n_words"],
        figure="picture_of_mole",
    )
