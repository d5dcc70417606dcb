"""Checkpoints written by transformers itself, and hand-made Hugging Face caches that hold them."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

# A distinct prime for every size, so that a swapped axis cannot pass.
TINY = {"n_layer": 3, "n_head": 5, "n_embd": 5 * 11, "n_positions": 37, "vocab_size": 211,
        "n_inner": 101}  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GPT2_TOKENIZER = Path(__file__).parents[2].parent / "shared" / "gpt2-tokenizer"

needs_gpt2_tokenizer = pytest.mark.skipif(
    not GPT2_TOKENIZER.is_dir(), reason=f"GPT-2's tokenizer files are not at {GPT2_TOKENIZER}"
)


def write_tiny(directory, std=0.3, seed=0, **fields):
    """A random GPT-2 in which every parameter is random, saved by transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging as hf_logging

    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**(TINY | {"bos_token_id": 0, "eos_token_id": 0} | fields)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shift = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.normal_(std=std).add_(shift)
    hf_logging.disable_progress_bar()
    model.save_pretrained(directory)
    hf_logging.enable_progress_bar()
    return model.eval()


def write_word_tokenizer(directory):
    """A word-level tokenizer of 211 tokens, w2 to w208 and three special ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<bos>", "<pad>", *[f"w{i}" for i in range(2, 210)], "<unk>"]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = {"bos_token": "<bos>", "eos_token": "<bos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings = roles | {"tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def put_into_cache(home, repository, checkpoint, commit=COMMIT, reference="main"):
    """What the hub's own download would leave behind."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / reference).write_text(commit)
    shutil.copytree(checkpoint, folder / "snapshots" / commit)
    return folder / "snapshots" / commit


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory):
    """A checkpoint with a tokenizer; not to be written to."""
    directory = tmp_path_factory.mktemp("tiny") / "tiny"
    write_tiny(directory)
    write_word_tokenizer(directory)
    return directory


@pytest.fixture
def tiny(tiny_source, tmp_path):
    """A checkpoint with a tokenizer, for one test to damage."""
    return Path(shutil.copytree(tiny_source, tmp_path / "tiny"))


@pytest.fixture
def tokens():
    return torch.randint(211, (7, 31), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def hf_home(tmp_path, monkeypatch):
    """An empty Hugging Face cache in place of the user's."""
    from huggingface_hub import constants

    home = tmp_path / "home"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return home


@pytest.fixture
def endpoint(monkeypatch):
    """Sends huggingface_hub to another address: `endpoint("http://127.0.0.1:1234")`."""
    from huggingface_hub import close_session, constants

    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for name in (variable, variable.lower()):
            if name in os.environ:
                monkeypatch.delenv(name)

    def use(url):
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        close_session()

    yield use
    close_session()


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to open a connection fails the test, even one that the caller would survive."""
    import socket

    attempts = []

    def refuse(self, address):
        attempts.append(address)
        raise OSError("the test allows no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    yield
    assert not attempts, f"a connection to {attempts[0]} was tried"
