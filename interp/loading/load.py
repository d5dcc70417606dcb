"""A name, a path or a live bridge in; a model that is ready to be taken apart out."""

import re
from pathlib import Path
from typing import Any

import torch

from interp.core import GPTConfig, HookedGPT
from interp.core.errors import InputError, RunError
from interp.core.reading import expanded
from interp.loading.hf_config import GPT2Fields, config_from_gpt2, read_json
from interp.loading.names import (
    FAMILY,
    GPT2_CONTEXT,
    GPT2_VOCAB,
    SHIPPED_FOLDER,
    TRANSLATOR,
    family_name,
    near_names,
    shipped_names,
)
from interp.loading.provenance import versions, weights_hash
from interp.loading.tokenizer import TextTokenizer, read_tokenizer
from interp.loading.weights import (
    DTYPES,
    WeightFiles,
    build_model,
    check_parameters,
    read_parameters,
    stored_as_gpt2,
    stored_as_ours,
    stored_dtype,
)

OWN_FORMAT = "interp-gpt"
_RANDOM = "random:"


def load_model(
    name: Any,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    offline: bool = False,
    seed: int = 0,
) -> HookedGPT:
    """Load a model with its tokenizer; frozen, in eval mode.

    Args:
        name: one of
            - a model that ships with the package (`small`, ...): no network;
            - a published GPT-2 (`gpt2`, `gpt2-medium`, `gpt2-large`, `gpt2-xl`, `distilgpt2`, under
              any spelling) or another GPT-2 on the hub (`owner/name`): through TransformerLens,
              raw weights, from the Hugging Face cache, else from the hub;
            - a directory in Hugging Face's GPT-2 format or as written by `save` (a name above wins
              over a directory of that name; write ./gpt2 for the directory);
            - a folder of `interp train` (its finished model, else its newest checkpoint), or one of
              its checkpoint files;
            - `random:` and any of these names: the same shape and tokenizer, GPT-2's random
              initial weights from `seed`; needs no network for a published GPT-2;
            - a live `TransformerBridge`: its present weights are copied.
        device: where the weights go; "auto" is a GPU if there is one.
        dtype: float32, float64 or bfloat16; stored weights are cast.
        revision: branch, tag or commit on the hub.
        offline: never touch the network.
        seed: for `random:`; not used otherwise.

    Returns:
        The model. `provenance` says where the weights came from (with their SHA-256), which fields
        of a config were not read by GPT-2, and the BOS policy.

    Raises:
        InputError: no such model, not a GPT-2, a config field that changes the result in a way this
            library does not compute, or a damaged file; the message names it.
        RunError: the model is neither cached nor reachable; after at most 5 s without a network.

    Cost: a directory or shipped model peaks at 1.0 times its weights in memory, TransformerLens at
    about 2 times; see `benchmarks/results/loading.csv`.
    """
    target = _device(device)
    _check_dtype(dtype)
    if isinstance(name, Path):
        return _from_directory(name, target, dtype, revision)
    if isinstance(name, str):
        return _from_name(name, target, dtype, revision, offline, seed)
    from interp.loading.transformerlens import is_bridge

    if is_bridge(name):
        return _from_bridge(name, target, dtype)
    raise InputError(
        f"load_model takes a name, a path or a TransformerBridge, not a {type(name).__name__}."
    )


def _from_name(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None,
    offline: bool,
    seed: int,
) -> HookedGPT:
    if name.removeprefix(_RANDOM) == TRANSLATOR:
        raise InputError(
            f"{TRANSLATOR} is an encoder-decoder, which studies of a GPT cannot take apart; the "
            "study cross_attention measures it beside any model, and load_translator() loads it."
        )
    if name.startswith(_RANDOM):
        return _random(name, device, dtype, revision, seed)
    if name in shipped_names():
        _refuse_revision(name, revision)
        model = _from_files(SHIPPED_FOLDER / name, dtype, device, name)
        model.provenance["source"] = "shipped"
        return model
    if family_name(name) is not None:
        return _from_hub(name, device, dtype, revision, offline)
    if _exists(name):
        return _from_directory(Path(name), device, dtype, revision)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and ".." not in name and name[0] not in "./":
        return _from_hub(name, device, dtype, revision, offline)
    raise InputError(
        f"There is no model {name[:80]!r}, neither by name nor as a path; {near_names(name)}"
    )


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, an unknown user's home
        return False


def _from_directory(
    path: Path, device: torch.device, dtype: torch.dtype, revision: str | None
) -> HookedGPT:
    path = expanded(path)
    _refuse_revision(str(path), revision)
    path = _inside_run(path)
    if (path.is_file() and path.suffix == ".safetensors") or path.name == "checkpoints":
        return _from_run(path, dtype, device)
    if not path.is_dir():
        what = "is no directory" if path.exists() else "does not exist"
        raise InputError(
            f"{path} {what}; expected a directory with config.json and weights in safetensors, the "
            "only format of weights that is ever opened."
        )
    return _from_files(path, dtype, device, path.resolve().name)


def _inside_run(path: Path) -> Path:
    """Of a training run, the finished model, else the folder of its checkpoints."""
    if (path / "config.json").exists():
        return path
    if (path / "final" / "config.json").is_file():
        return path / "final"
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def _from_run(path: Path, dtype: torch.dtype, device: torch.device) -> HookedGPT:
    from interp.loading.training_runs import from_checkpoint

    model, facts = from_checkpoint(path, device, dtype)
    _describe(model, source="checkpoint", loader="safetensors", **facts)
    return model


def _from_files(directory: Path, dtype: torch.dtype, device: torch.device, name: str) -> HookedGPT:
    """A directory in Hugging Face's or our own format, read without either library's help."""
    values = read_json(directory / "config.json")
    own = values.get("model_type") == OWN_FORMAT
    fields = _own_fields(values, directory) if own else _gpt2_fields(values, directory, dtype)
    files = WeightFiles(directory)
    stored = (stored_as_ours if own else stored_as_gpt2)(files, fields.config)
    parameters = read_parameters(files, stored, dtype, transpose_head=not own)
    model = build_model(fields.config, parameters, device)
    facts = values.get("interp") if isinstance(values.get("interp"), dict) else {}
    model.processing = _processing(facts, directory)
    model.tokenizer = _tokenizer_of(directory, values, fields.config)
    model.name = facts["name"] if isinstance(facts.get("name"), str) else name
    _describe(
        model,
        source="directory",
        loader="safetensors",
        path=str(directory.resolve()),
        stored_dtype=stored_dtype(stored),
        unused_config_fields=list(fields.unused),
        **({"training": facts["training"]} if facts.get("training") else {}),
    )
    return model


def _gpt2_fields(values: dict[str, Any], directory: Path, dtype: torch.dtype) -> GPT2Fields:
    where = f"{directory / 'config.json'}"
    fields = config_from_gpt2(values, where)
    if fields.upcast_attention and dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"{where} sets reorder_and_upcast_attn=true (attention in float32), which a model in "
            f"{_dtype_name(dtype)} does not do; load it with dtype=torch.float32."
        )
    return fields


def _own_fields(values: dict[str, Any], directory: Path) -> GPT2Fields:
    described = values.get("config")
    if not isinstance(described, dict):
        raise InputError(f"{directory / 'config.json'} has no 'config' with the model's shape.")
    config = GPTConfig.from_dict({name: _as_tuples(value) for name, value in described.items()})
    return GPT2Fields(config, upcast_attention=False, unused=())


def _as_tuples(value: Any) -> Any:
    """JSON has no tuples, and a mask per layer is one."""
    return tuple(_as_tuples(entry) for entry in value) if isinstance(value, list) else value


def _processing(facts: dict[str, Any], directory: Path) -> tuple[str, ...]:
    steps = facts.get("processing", [])
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{directory / 'config.json'}: 'processing' must be a list of names.")
    return tuple(steps)


def _tokenizer_of(directory: Path, values: dict[str, Any], config: GPTConfig) -> Any:
    """The directory's tokenizer, checked against the model; None if it has none."""
    bos_id = values.get("bos_token_id")
    known = isinstance(bos_id, int) and not isinstance(bos_id, bool)
    tokenizer = read_tokenizer(
        directory, gpt2=values.get("model_type") == "gpt2", bos_id=bos_id if known else None
    )
    if tokenizer is not None and tokenizer.vocab_size > config.d_vocab:
        raise InputError(
            f"The tokenizer in {directory} has {tokenizer.vocab_size} tokens, but the model's "
            f"vocabulary ends at {config.d_vocab}; do the files belong together?"
        )
    return tokenizer


def _from_hub(
    name: str, device: torch.device, dtype: torch.dtype, revision: str | None, offline: bool
) -> HookedGPT:
    from interp.loading.hub import find_snapshot

    short = family_name(name)
    shape = FAMILY.get(short) if short else None
    snapshot = find_snapshot(
        shape.hub_ids if shape else (name,),
        revision,
        offline=offline,
        download_mb=shape.download_mb if shape else None,
    )
    model = _through_transformerlens(snapshot.path, device, dtype)
    model.name = short or name.split("/")[-1]
    model.provenance |= {
        "name": model.name,
        "source": "hub",
        "repository": snapshot.hub_id,
        "revision": snapshot.commit,
        "revision_asked_for": revision,
    }
    return model


def _through_transformerlens(
    directory: Path, device: torch.device, dtype: torch.dtype
) -> HookedGPT:
    """A snapshot through a raw bridge, whose tensors become ours without a copy."""
    values = read_json(directory / "config.json")
    fields = _gpt2_fields(values, directory, dtype)
    files = WeightFiles(directory)
    stored = stored_as_gpt2(files, fields.config)  # refuses a damaged download by name

    from interp.loading.transformerlens import boot, bridge_parameters

    bridge = boot(directory, dtype)
    config, parameters = bridge_parameters(bridge, fields.config)
    del bridge
    check_parameters(config, parameters, f"the bridge of {directory}")
    model = build_model(config, parameters, device)
    model.tokenizer = _tokenizer_of(directory, values, config)
    _describe(
        model,
        source="hub",
        loader="TransformerLens",
        path=str(directory),
        stored_dtype=stored_dtype(stored),
        unused_config_fields=list(fields.unused),
        packages=("transformer-lens", "transformers", "huggingface_hub"),
    )
    return model


def _from_bridge(bridge: Any, device: torch.device, dtype: torch.dtype) -> HookedGPT:
    from interp.loading.transformerlens import bridge_config, bridge_parameters, processing_of

    fields = bridge_config(bridge)
    config, shared = bridge_parameters(bridge, fields.config)
    where = f"the bridge {bridge.cfg.model_name!r}"
    check_parameters(config, shared, where)
    # The bridge lives on; whatever happens to its weights must not reach ours.
    parameters = {name: t.to(device="cpu", dtype=dtype, copy=True) for name, t in shared.items()}
    model = build_model(config, parameters, device)
    model.processing = processing_of(bridge, shared)
    backend = getattr(bridge.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        roles = ("bos_token", "eos_token", "pad_token", "unk_token")
        model.tokenizer = TextTokenizer(
            backend, {role: getattr(bridge.tokenizer, role, None) for role in roles}
        )
    model.name = Path(bridge.cfg.model_name).name
    _describe(
        model,
        source="bridge",
        loader="TransformerLens",
        bridge=bridge.cfg.model_name,
        stored_dtype=_dtype_name(shared["embed.W_E"].dtype),
        packages=("transformer-lens", "transformers"),
    )
    return model


def _random(
    name: str, device: torch.device, dtype: torch.dtype, revision: str | None, seed: int
) -> HookedGPT:
    _refuse_revision(name, revision)
    base = name.removeprefix(_RANDOM)
    family = family_name(base)
    directory = SHIPPED_FOLDER / base if base in shipped_names() else Path(base)
    if family is not None:
        shape = FAMILY[family]
        config = GPTConfig(shape.n_layers, shape.d_model, shape.n_heads, GPT2_CONTEXT, GPT2_VOCAB)
        tokenizer = _cached_tokenizer(shape.hub_ids, config)
    elif base and _exists(str(directory)) and (directory := expanded(directory)).is_dir():
        values = read_json(directory / "config.json")
        own = values.get("model_type") == OWN_FORMAT
        fields = _own_fields(values, directory) if own else _gpt2_fields(values, directory, dtype)
        config, tokenizer = fields.config, _tokenizer_of(directory, values, fields.config)
    else:
        raise InputError(f"{name[:80]!r} has no known shape; " + near_names(base[:80]))
    try:
        model = HookedGPT(config, dtype=dtype, device=device, seed=seed)
    except (RuntimeError, MemoryError) as error:  # PyTorch's out-of-memory is a RuntimeError
        reason = (str(error).splitlines() or ["out of memory"])[0]
        raise RunError(f"{name} could not be made: {reason}") from error
    model.requires_grad_(False).eval()
    model.name = f"random-{family or directory.resolve().name}"
    model.tokenizer = tokenizer
    _describe(model, source="random", loader="GPT-2's initialisation", shape_of=base, seed=seed)
    return model


def _cached_tokenizer(hub_ids: tuple[str, ...], config: GPTConfig) -> Any:
    """The tokenizer, if the cache happens to hold it; random weights are no reason to go online."""
    from interp.loading.hub import find_snapshot

    try:
        path = find_snapshot(hub_ids, None, offline=True, download_mb=None).path
    except RunError:
        return None
    return _tokenizer_of(path, {"model_type": "gpt2"}, config)


def _describe(model: HookedGPT, *, packages: tuple[str, ...] = (), **facts: Any) -> None:
    model.provenance = {
        "name": model.name,
        **facts,
        "weights_sha256": weights_hash(model),
        "dtype": _dtype_name(model.embed.W_E.dtype),
        "processing": list(model.processing),
        "bos_policy": model.tokenizer.bos_policy
        if model.tokenizer is not None
        else "The model has no tokenizer: token ids are used as they are given.",
        "versions": versions(*packages),
    }


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"{device!r} is not a device: {str(error).splitlines()[0]}") from None
    if target.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda' was asked for, but PyTorch finds no GPU; use 'cpu'.")
    return target


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        known = ", ".join(_dtype_name(known) for known in DTYPES)
        raise InputError(f"dtype={_dtype_name(dtype)} is not supported; use one of {known}.")


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise InputError(
            f"revision={revision!r} picks a commit on the Hugging Face hub, but {name!r} does not "
            "come from there."
        )
