"""Token saliency: which words of the prompt speak for an answer, and against another one?

Three answers to one question, what the logit difference would lose if a token's embedding were
replaced by a baseline that says nothing:

- `gradient_times_input`: the loss to first order, from one gradient (Simonyan et al. 2013,
  arXiv:1312.6034; Shrikumar et al. 2016, arXiv:1605.01713);
- `integrated_gradients`: from gradients along the line from the baseline to the prompt, all tokens
  at once, which sum to the whole difference (Sundararajan et al. 2017, arXiv:1703.01365);
- `ablation`: the loss itself, one token replaced at a time.

With a contrast the question is why one word and not the other (Yin & Neubig 2022,
arXiv:2202.10419): gradients of a logit alone mostly say what raises all logits. Gradients are
cheap and miss what saturates; the ablation is exact, and blind where two tokens say the same.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.measures.logit_differences import TokenIds, answer_metric, check_answers, check_prompts
from interp.measures.metric_gradients import metric_gradients
from interp.measures.patching import Metric

BASELINES = ("mean", "zero")


def token_saliency(
    model: HookedGPT,
    tokens: Int[Tensor, "prompt pos"] | Int[Tensor, " pos"],
    target: TokenIds,
    contrast: TokenIds | None = None,
    position: int = -1,
    *,
    baseline: str | Int[Tensor, "prompt pos"] = "mean",
    steps: int = 32,
    batch_size: int = 32,
) -> pd.DataFrame:
    """What each token of a prompt does for the logit of the target, less that of the contrast.

    Args:
        model: pre-norm or without norms.
        tokens: prompts of one length.
        target: the token whose logit counts; one for all prompts, or one for each.
        contrast: the token whose logit is subtracted; None for the target alone.
        position: where logits are read.
        baseline: what replaces a token's embedding: "mean" of the vocabulary, "zero", or other
            prompts, token by token. Positions keep their embedding.
        steps: gradients along the line, at the middles of equal parts.
        batch_size: rows at a time.

    Returns:
        One row per prompt and position: `prompt`, `pos`, `token` (id), `gradient_times_input`,
        `integrated_gradients`, `ablation` (all logits), and for reference `metric` and
        `metric_baseline` (with the prompt's and with the baseline's embeddings). Integrated
        gradients sum to the difference of those two, but for the steps. Tokens after `position`
        have 0.

    Raises:
        InputError: an unknown baseline, no step, or as `direct_attribution`.

    Cost: per prompt, `steps + 1` forward and backward passes and `pos` forward passes.
    """
    tokens, position = check_prompts(model, tokens, position)
    target, contrast = check_answers(model, len(tokens), target, contrast)
    if steps < 1:
        raise InputError(f"steps={steps}, but integrated gradients need at least one")
    metric = answer_metric(target, contrast, position)
    with torch.no_grad():
        start = model(tokens, stop_at_layer=0)
        change = model.W_E[tokens] - _embeddings(model, tokens, baseline)
    rows = torch.arange(len(tokens), device=tokens.device)
    gradient = _gradients(model, metric, start, rows, batch_size)
    values = _ablated(model, metric, start, change, batch_size)
    along = torch.zeros_like(start)
    for step in range(steps):
        between = start - (1 - (step + 0.5) / steps) * change
        along += _gradients(model, metric, between, rows, batch_size) / steps
    columns = {
        "gradient_times_input": (gradient * change).sum(-1),
        "integrated_gradients": (along * change).sum(-1),
        "ablation": values[:, :1] - values[:, 2:],
        "metric": values[:, :1].expand_as(tokens),
        "metric_baseline": values[:, 1:2].expand_as(tokens),
    }
    keys = pd.MultiIndex.from_product([range(n) for n in tokens.shape], names=["prompt", "pos"])
    frame = keys.to_frame(index=False).assign(token=tokens.flatten().cpu().numpy())
    return frame.assign(**{n: v.double().flatten().cpu().numpy() for n, v in columns.items()})


def _embeddings(
    model: HookedGPT, tokens: Int[Tensor, "prompt pos"], baseline: str | Int[Tensor, "prompt pos"]
) -> Float[Tensor, "#prompt #pos d_model"]:
    if isinstance(baseline, Tensor):
        if baseline.shape != tokens.shape:
            raise InputError(
                f"the baseline has shape {tuple(baseline.shape)}, the prompts {tuple(tokens.shape)}"
            )
        return model.W_E[baseline.to(tokens.device)]
    if baseline not in BASELINES:
        raise InputError(f"{baseline!r} is no baseline: {', '.join(BASELINES)}, or other prompts")
    mean = model.W_E.mean(0)
    return (mean if baseline == "mean" else torch.zeros_like(mean))[None, None]


def _gradients(
    model: HookedGPT,
    metric: Metric,
    stream: Float[Tensor, "row pos d_model"],
    prompts: Int[Tensor, " row"],
    batch_size: int,
) -> Float[Tensor, "row pos d_model"]:
    name, gradients = "blocks.0.hook_resid_pre", []
    for part in torch.arange(len(stream), device=stream.device).split(batch_size):
        _, _, found = metric_gradients(model, metric, stream[part], prompts[part], [name])
        gradients.append(found[name][0])
    return torch.cat(gradients)


@torch.no_grad()
def _ablated(
    model: HookedGPT,
    metric: Metric,
    start: Float[Tensor, "prompt pos d_model"],
    change: Float[Tensor, "prompt pos d_model"],
    batch_size: int,
) -> Float[Tensor, "prompt run"]:
    """The metric as it is, with all tokens replaced, and with each one replaced alone."""
    n_prompts, n_pos = start.shape[:2]
    each = torch.eye(n_pos, device=start.device, dtype=start.dtype)
    removed = torch.cat([each.new_zeros(1, n_pos), each.new_ones(1, n_pos), each])
    at = metric.positions[0]
    found = []
    for prompt in range(n_prompts):
        for part in removed.split(batch_size):
            stream = start[prompt] - part[:, :, None] * change[prompt]
            logits = model(stream, start_at_layer=0, logits_at=[at])
            prompts = torch.full((len(part),), prompt, device=start.device)
            tokens = metric.tokens.to(start.device)[prompts]
            found.append(metric.value(logits.gather(2, tokens[:, None]), prompts))
    return torch.cat(found).view(n_prompts, -1)
