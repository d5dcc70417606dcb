"""Weight files: which tensors a config calls for, and safetensors files that must hold just those.

Names, shapes and kinds are compared in the files' headers before a number is read or a model is
built. Then each tensor is read into memory of its own (no memory map, so nothing that happens to
the file later can reach the weights) and becomes a parameter as it is: the model stores its weights
as GPT-2's checkpoints do. Peak memory is the weights once, plus one tensor where a cast is needed.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp.core import GPTConfig, HookedGPT, InputError
from interp.core.model import sinusoids
from interp.core.reading import brief
from interp.loading.hf_config import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.bin")
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = (torch.float32, torch.float64, torch.bfloat16)

_MOST_FIXED_POSITIONS = 1_000_000

# GPT-2's names inside a block, after "h.{layer}." there and "blocks.{layer}." here.
_IN_BLOCK = {
    "ln_1.weight": "ln1.w",
    "ln_1.bias": "ln1.b",
    "attn.c_attn.weight": "attn.W_QKV",
    "attn.c_attn.bias": "attn.b_QKV",
    "attn.c_proj.weight": "attn.W_O_flat",
    "attn.c_proj.bias": "attn.b_O",
    "ln_2.weight": "ln2.w",
    "ln_2.bias": "ln2.b",
    "mlp.c_fc.weight": "mlp.W_in",
    "mlp.c_fc.bias": "mlp.b_in",
    "mlp.c_proj.weight": "mlp.W_out",
    "mlp.c_proj.bias": "mlp.b_out",
}
_OUTSIDE = {
    "transformer.wte.weight": "embed.W_E",
    "transformer.wpe.weight": "pos_embed.W_pos",
    "transformer.ln_f.weight": "ln_final.w",
    "transformer.ln_f.bias": "ln_final.b",
    "lm_head.weight": "unembed.W_U",
}
# Old checkpoints carry the causal mask beside the weights.
_MASK_BUFFER = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, without the memory for one."""
    with torch.device("meta"):
        model = HookedGPT(config, init=None, device="meta")
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def gpt2_name(ours: str) -> str:
    """Hugging Face's name of a parameter."""
    for theirs, name in _OUTSIDE.items():
        if name == ours:
            return theirs
    _, layer, rest = ours.split(".", 2)
    theirs = next(theirs for theirs, name in _IN_BLOCK.items() if name == rest)
    return f"transformer.h.{layer}.{theirs}"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and what the header says about it."""

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str


class WeightFiles:
    """The tensors of a checkpoint directory, by name; numbers are read on request."""

    def __init__(self, directory: Path) -> None:
        """Read the headers.

        Raises:
            InputError: no safetensors file, a damaged one, or an index that does not fit.
        """
        self.directory = directory
        self.tensors: dict[str, StoredTensor] = {}
        shards: dict[str, set[str] | None] = {SINGLE: None}
        if not (directory / SINGLE).is_file():  # where both exist, transformers reads this one
            if not (directory / INDEX).is_file():
                raise InputError(_no_safetensors(directory))
            shards = self._from_index()
        for file_name, promised in shards.items():
            self._read_header(directory / file_name, promised)

    def _from_index(self) -> dict[str, set[str] | None]:
        path = self.directory / INDEX
        weight_map = read_json(path).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{path} has no weight_map from tensor names to files.")
        shards: dict[str, set[str]] = {}
        for name, file_name in weight_map.items():
            # A file of the same directory and nothing else: an index must not reach elsewhere.
            plain = isinstance(file_name, str) and file_name == Path(file_name).name
            if not plain or not file_name.endswith(".safetensors"):
                raise InputError(
                    f"{path} sends {name} to {file_name!r}; expected the bare name of a "
                    ".safetensors file in the same directory."
                )
            shards.setdefault(file_name, set()).add(name)
        return shards

    def _read_header(self, path: Path, promised: set[str] | None) -> None:
        if not path.is_file():
            raise InputError(f"{path} is missing, though {INDEX} names it; copy every shard.")
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118 (no mapping: it cannot be iterated)
                header = file.get_slice(name)
                stored = StoredTensor(path, name, tuple(header.get_shape()), header.get_dtype())
                if name in self.tensors:
                    raise InputError(f"{name} is in both {self.tensors[name].path} and {path}.")
                self.tensors[name] = stored
        if promised is not None and promised - self.tensors.keys():
            missing = sorted(promised - self.tensors.keys())
            raise InputError(f"{path} lacks {_few(missing)}, which {INDEX} promises.")

    def read(self, stored: StoredTensor, dtype: torch.dtype) -> Tensor:
        """The numbers, in memory of their own, cast to `dtype`.

        Raises:
            InputError: a number is not finite, or the file ends too early.
        """
        with _opened(stored.path) as file:
            try:
                tensor = file.get_tensor(stored.name).to(dtype)
            except (SafetensorError, OSError, RuntimeError) as error:
                raise InputError(f"{stored.path}: {stored.name} cannot be read: {error}") from None
        check_finite(stored.name, tensor, str(stored.path))
        return tensor


def _opened(path: Path):
    try:
        return safe_open(path, framework="pt", backend="pread")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}); was the download or copy cut short?"
        ) from None


def check_finite(name: str, tensor: Tensor, where: str) -> None:
    """Refuse NaN and infinity.

    Cost: one pass, without a temporary of the tensor's size.

    Raises:
        InputError: naming the tensor.
    """
    low, high = (float(bound) for bound in tensor.aminmax())
    # A NaN makes both bounds NaN; comparisons with it are false.
    if not (low > -torch.inf and high < torch.inf):
        raise InputError(
            f"{where}: {name} holds numbers that are not finite (NaN or infinity, as "
            f"{str(tensor.dtype).removeprefix('torch.')}); is the file damaged, or did training "
            "diverge?"
        )


def check_parameters(config: GPTConfig, parameters: Mapping[str, Tensor], where: str) -> None:
    """Every parameter of the config is there, in its shape and finite.

    Raises:
        InputError: naming the first that is not.
    """
    check_sizes(config, [tensor.shape for tensor in parameters.values()], where)
    for name, shape in parameter_shapes(config).items():
        if name not in parameters:
            raise InputError(f"{where} lacks {name}.")
        if tuple(parameters[name].shape) != shape:
            raise InputError(
                f"{where}: {name} has shape {list(parameters[name].shape)}, but the config calls "
                f"for {list(shape)}."
            )
        check_finite(name, parameters[name], where)


def stored_as_gpt2(files: WeightFiles, config: GPTConfig) -> dict[str, StoredTensor]:
    """Match a GPT-2 checkpoint's tensors to our parameters.

    Names with and without the prefix "transformer." are known, causal-mask buffers are passed over,
    and a tied checkpoint may hold its matrix under either name, or twice if both are equal.

    Raises:
        InputError: a tensor is missing, unexpected, or of the wrong shape or kind.
    """
    found: dict[str, StoredTensor] = {}
    for name, stored in files.tensors.items():
        full = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
        if _MASK_BUFFER.fullmatch(full):
            continue
        if full in found:
            raise InputError(f"{stored.path} holds {full} twice, with and without its prefix.")
        found[full] = stored
    if config.tied:
        _resolve_tie(files, found)
    return _matched(files, found, config, gpt2_name)


def _resolve_tie(files: WeightFiles, found: dict[str, StoredTensor]) -> None:
    head, embedding = found.pop("lm_head.weight", None), found.get("transformer.wte.weight")
    if head is None:
        return
    if embedding is None:
        found["transformer.wte.weight"] = head
    elif not _same_numbers(files, head, embedding):
        raise InputError(
            f"{files.directory} holds lm_head.weight and wte.weight with different numbers, but "
            "config.json says tie_word_embeddings=true; set it to false if both are meant."
        )


def _same_numbers(files: WeightFiles, one: StoredTensor, other: StoredTensor) -> bool:
    if one.shape != other.shape or one.kind != other.kind or one.kind not in _FLOATS:
        return False
    dtype = _FLOATS[one.kind]
    return torch.equal(files.read(one, dtype), files.read(other, dtype))


def stored_as_ours(files: WeightFiles, config: GPTConfig) -> dict[str, StoredTensor]:
    """Match the tensors of this library's own format to the parameters.

    Raises:
        InputError: a tensor is missing, unexpected, or of the wrong shape or kind.
    """
    return _matched(files, dict(files.tensors), config, str)


def check_sizes(config: GPTConfig, shapes: Collection[Sequence[int]], where: str) -> None:
    """Refuse a config whose very shapes would take for ever, or overflow, to work out.

    Every size but `n_heads` and fixed positions is the length of some tensor's axis.

    Args:
        config: the shape that is said.
        shapes: of the tensors that there are.
        where: the files, for messages.

    Raises:
        InputError: naming the size.
    """
    longest = max((axis for shape in shapes for axis in shape), default=0)
    sizes = {
        "d_model": config.d_model,
        "d_vocab": config.d_vocab,
        "d_mlp": config.d_mlp,
        "n_heads * d_head": config.n_heads * config.d_head,
        "n_ctx": config.n_ctx if config.positions == "learned" else 0,
    }
    for name, size in sizes.items():
        if size > longest:
            raise InputError(
                f"{where}: the config says {name}={brief(size)}, but no tensor has an axis that "
                "long; is it another model's?"
            )
    if config.n_layers > len(shapes):
        raise InputError(
            f"{where}: the config says n_layers={brief(config.n_layers)}, but there are "
            f"{len(shapes)} tensors in all."
        )
    if config.positions == "sinusoidal" and config.n_ctx > _MOST_FIXED_POSITIONS:
        raise InputError(
            f"{where}: the config says n_ctx={brief(config.n_ctx)}; at most "
            f"{_MOST_FIXED_POSITIONS} sinusoidal positions are tabulated."
        )


def _matched(
    files: WeightFiles,
    found: dict[str, StoredTensor],
    config: GPTConfig,
    theirs: Callable[[str], str],
) -> dict[str, StoredTensor]:
    """Each parameter's tensor; `theirs` turns our names into the files'."""
    shapes = [tensor.shape for tensor in files.tensors.values()]
    check_sizes(config, shapes, str(files.directory / "config.json"))
    where = f"{files.directory} ({_sizes(config)})"
    matched = {}
    shapes = parameter_shapes(config)
    missing = [theirs(name) for name in shapes if theirs(name) not in found]
    if missing:
        raise InputError(f"{where} lacks {_few(missing)}, which config.json calls for.")
    for name, shape in shapes.items():
        stored = found.pop(theirs(name))
        if theirs is gpt2_name and name == "unembed.W_U":
            shape = shape[::-1]
        if stored.shape != shape:
            raise InputError(f"{where}: {stored.name} has shape {list(stored.shape)}, but "
                             f"config.json calls for {list(shape)}.")  # fmt: skip
        if stored.kind not in _FLOATS:
            raise InputError(
                f"{where}: {stored.name} is stored as {stored.kind}; expected one of "
                f"{', '.join(_FLOATS)} (quantised weights are not supported)."
            )
        matched[name] = stored
    if found:
        raise InputError(
            f"{where} holds {_few(sorted(found))}, which a GPT-2 of this config does not have; is "
            "config.json another model's?"
        )
    return matched


def read_parameters(
    files: WeightFiles, stored: Mapping[str, StoredTensor], dtype: torch.dtype, transpose_head: bool
) -> dict[str, Tensor]:
    """The numbers of all parameters.

    Args:
        files: the checkpoint.
        stored: parameter name to tensor, checked.
        dtype: what to cast to.
        transpose_head: the unembedding is stored as `d_vocab d_model`, as Hugging Face does.
    """
    parameters = {name: files.read(tensor, dtype) for name, tensor in stored.items()}
    if transpose_head and "unembed.W_U" in parameters:
        parameters["unembed.W_U"] = parameters["unembed.W_U"].T
    return parameters


def build_model(
    config: GPTConfig, parameters: dict[str, Tensor], device: torch.device
) -> HookedGPT:
    """A frozen model in eval mode around the given tensors, which become its parameters."""
    with torch.device("meta"):
        model = HookedGPT(config, init=None, device="meta")
    dtype = parameters["embed.W_E"].dtype
    model.load_state_dict(parameters, strict=True, assign=True)
    if config.positions == "sinusoidal":
        model.pos_embed.W_pos = sinusoids(config.n_ctx, config.d_model).to(dtype)
    return model.to(device).requires_grad_(False).eval()


def stored_dtype(stored: Mapping[str, StoredTensor]) -> str:
    """What the weights are stored as: "F32", or "BF16, F32" for a mixture."""
    return ", ".join(sorted({tensor.kind for tensor in stored.values()}))


def _no_safetensors(directory: Path) -> str:
    pickles = [name for name in _PICKLES if (directory / name).exists()]
    if pickles:
        return (
            f"{directory} holds {pickles[0]} but no {SINGLE}. A .bin file is a pickle, which can "
            "run code when it is opened, so it never is; convert it to safetensors where you trust "
            "it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
        )
    return f"There is no {SINGLE} in {directory}."


def _sizes(config: GPTConfig) -> str:
    return f"{config.n_layers} layers, d_model {config.d_model}, vocabulary {config.d_vocab}"


def _few(names: list[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
