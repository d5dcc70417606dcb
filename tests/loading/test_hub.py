"""The cache and the hub: at once when cached, within seconds when not, nothing left changed."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

from interp.core import InputError, RunError
from interp.loading import load_model
from interp.loading.hub import PROBE_SECONDS

from .conftest import COMMIT, put_into_cache, write_tiny, write_word_tokenizer


class TestCached:
    @pytest.mark.parametrize("stored_as", ["gpt2", "openai-community/gpt2"])
    @pytest.mark.parametrize("asked_as", ["gpt2", "gpt2-small", "openai-community/gpt2"])
    def test_it_loads_without_a_network_under_any_spelling(
        self, tiny_source, hf_home, no_network, tokens, stored_as, asked_as
    ):
        path = put_into_cache(hf_home, stored_as, tiny_source)
        model = load_model(asked_as)
        assert torch.equal(model(tokens), load_model(tiny_source)(tokens))
        facts = model.provenance
        assert (facts["name"], facts["repository"], facts["revision"]) == (
            "gpt2",
            stored_as,
            COMMIT,
        )
        assert (facts["source"], facts["loader"]) == ("hub", "TransformerLens")
        assert facts["path"] == str(path)
        assert facts["versions"]["transformer-lens"].startswith("4.")
        assert facts["weights_sha256"] == load_model(tiny_source).provenance["weights_sha256"]

    def test_distilgpt2_is_found_under_its_owner_s_name(self, tiny_source, hf_home, no_network):
        put_into_cache(hf_home, "distilbert/distilgpt2", tiny_source)
        assert load_model("distilgpt2").name == "distilgpt2"

    def test_other_gpt2s_on_the_hub_load_the_same_way(self, tiny_source, hf_home, no_network):
        put_into_cache(hf_home, "somebody/tuned-gpt2", tiny_source)
        model = load_model("somebody/tuned-gpt2")
        assert (model.name, model.provenance["repository"]) == ("tuned-gpt2", "somebody/tuned-gpt2")

    def test_a_revision_is_a_branch_a_tag_or_a_commit(
        self, tiny_source, hf_home, no_network, tmp_path
    ):
        other = tmp_path / "other"
        write_tiny(other, seed=5)
        write_word_tokenizer(other)
        put_into_cache(hf_home, "gpt2", tiny_source)
        put_into_cache(hf_home, "gpt2", other, commit="f" * 40, reference="v2")
        hashes = {
            revision: load_model("gpt2", revision=revision).provenance["weights_sha256"]
            for revision in (None, "main", COMMIT, "v2", "f" * 40)
        }
        assert hashes[None] == hashes["main"] == hashes[COMMIT]
        assert hashes["v2"] == hashes["f" * 40] != hashes["main"]
        facts = load_model("gpt2", revision="v2").provenance
        assert (facts["revision_asked_for"], facts["revision"]) == ("v2", "f" * 40)

    @pytest.mark.parametrize("revision", ["", "..", "../../other", "/etc", "a/../../b"])
    def test_a_revision_cannot_leave_the_cache(self, tiny_source, hf_home, revision, no_network):
        put_into_cache(hf_home, "gpt2", tiny_source)
        with pytest.raises(InputError, match="not a revision"):
            load_model("gpt2", revision=revision)

    def test_editing_the_model_leaves_the_cache_alone(self, tiny_source, hf_home, no_network):
        path = put_into_cache(hf_home, "gpt2", tiny_source) / "model.safetensors"
        before = path.read_bytes()
        model = load_model("gpt2")
        with torch.no_grad():
            model.embed.W_E.fill_(7.0)
        assert path.read_bytes() == before
        assert float(load_model("gpt2").embed.W_E.max()) != 7.0

    def test_a_damaged_cache_is_refused_by_name(self, tiny_source, hf_home, no_network):
        path = put_into_cache(hf_home, "gpt2", tiny_source) / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load_model("gpt2")

    def test_another_architecture_is_refused_by_name(self, tiny_source, hf_home, no_network):
        path = put_into_cache(hf_home, "somebody/llama", tiny_source) / "config.json"
        path.write_text('{"model_type": "llama"}')
        with pytest.raises(InputError, match="'llama'"):
            load_model("somebody/llama")

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_dtypes(self, tiny_source, hf_home, no_network, tokens, dtype):
        put_into_cache(hf_home, "gpt2", tiny_source)
        model = load_model("gpt2", dtype=dtype)
        assert torch.equal(model(tokens), load_model(tiny_source, dtype=dtype)(tokens))

    @pytest.mark.parametrize("bars", [True, False])
    @pytest.mark.parametrize("hub_bars", [True, False])
    def test_nothing_is_left_changed_and_nothing_is_printed(
        self, tiny_source, hf_home, no_network, capfd, bars, hub_bars
    ):
        import logging
        import warnings

        from huggingface_hub import constants, utils
        from transformers.utils import logging as hf_logging

        (hf_logging.enable_progress_bar if bars else hf_logging.disable_progress_bar)()
        (utils.enable_progress_bars if hub_bars else utils.disable_progress_bars)()
        put_into_cache(hf_home, "gpt2", tiny_source)

        def state():
            return (
                dict(os.environ),
                constants.HF_HUB_OFFLINE,
                utils.are_progress_bars_disabled(),
                hf_logging.is_progress_bar_enabled(),
                logging.root.manager.disable,
                logging.getLogger("transformers").level,
                list(warnings.filters),
                torch.is_grad_enabled(),
            )

        before = state()
        load_model("gpt2")
        after = state()
        hf_logging.enable_progress_bar()
        assert after == before
        captured = capfd.readouterr()
        assert captured.out == captured.err == ""


class TestNotCached:
    def refusal(self, name="gpt2", **options):
        """The error and the seconds until it came."""
        started = time.monotonic()
        with pytest.raises(RunError) as caught:
            load_model(name, **options)
        return str(caught.value), time.monotonic() - started

    def test_offline_says_what_to_do(self, hf_home, no_network):
        message, seconds = self.refusal(offline=True)
        assert seconds < 1
        for hint in (
            "gpt2",
            str(hf_home / "hub"),
            "offline=True",
            "548 MB",
            "HF_HOME",
            "directory",
        ):
            assert hint in message

    def test_the_environment_s_offline_switch_counts(self, hf_home, no_network, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE" in self.refusal()[0]

    def test_a_closed_port_is_noticed_at_once(self, hf_home, endpoint):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
        endpoint(f"http://127.0.0.1:{port}")
        message, seconds = self.refusal()
        assert seconds < 3
        assert "cannot be reached" in message

    def test_a_server_that_never_answers_is_given_up(self, hf_home, endpoint):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            endpoint(f"http://127.0.0.1:{server.getsockname()[1]}")
            message, seconds = self.refusal()
        assert seconds < PROBE_SECONDS + 2
        assert "did not answer" in message or "cannot be reached" in message

    def test_a_server_that_trickles_is_given_up(self, hf_home, endpoint):
        """Each byte restarts an HTTP library's time limit; the whole must have one too."""
        stop = threading.Event()

        def trickle():
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stop.wait(0.2):
                try:
                    connection.sendall(b"x")
                except OSError:
                    break
            connection.close()

        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            thread = threading.Thread(target=trickle)
            thread.start()
            endpoint(f"http://127.0.0.1:{server.getsockname()[1]}")
            message, seconds = self.refusal()
            stop.set()
            thread.join()
        assert seconds < PROBE_SECONDS + 2
        assert "did not answer" in message

    def test_a_name_that_is_slow_to_resolve_is_given_up(self, hf_home, endpoint, monkeypatch):
        released = threading.Event()
        endpoint("http://slow.example")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: released.wait(30))
        try:
            _, seconds = self.refusal()
        finally:
            released.set()
        assert seconds < PROBE_SECONDS + 2

    @pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
    def test_half_a_model_in_the_cache_is_not_enough(
        self, tiny_source, hf_home, no_network, missing
    ):
        (put_into_cache(hf_home, "gpt2", tiny_source) / missing).unlink()
        assert "not in the Hugging Face cache" in self.refusal(offline=True)[0]

    def test_another_revision_in_the_cache_is_not_enough(self, tiny_source, hf_home, no_network):
        put_into_cache(hf_home, "gpt2", tiny_source)
        assert "revision v9" in self.refusal(offline=True, revision="v9")[0]

    def test_five_seconds_in_a_fresh_process(self, tmp_path):
        """Imports included, through a proxy that accepts and stays silent."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
            environment = os.environ | {"HF_HOME": str(tmp_path)}
            environment |= {name: proxy for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")}
            environment.pop("HF_HUB_OFFLINE", None)
            code = (
                "import time; start = time.monotonic()\n"
                "from interp.loading import load_model\n"
                "from interp.core.errors import RunError\n"
                "import huggingface_hub, interp.loading.load\n"
                "imported = time.monotonic()\n"
                "try: load_model('gpt2')\n"
                "except RunError as error: print(time.monotonic() - imported, error)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True
            )
        assert done.stderr == ""
        seconds, message = done.stdout.split(" ", 1)
        assert "not in the Hugging Face cache" in message
        # The imports (PyTorch among them) are the machine's share of the five seconds.
        assert float(seconds) < 5


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Serves files as the hub does: a commit and an ETag with each."""

    files: dict[str, bytes]
    asked: list[str]
    status = 200
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.do_HEAD(with_body=True)

    def do_HEAD(self, with_body=False):
        self.asked.append(f"{self.command} {self.path}")
        name = self.path.rsplit("/", 1)[1]
        content = self.files.get(name)
        status = 404 if content is None else self.status
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        content = content if status == 200 else b""
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:x}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def fake_hub(tiny_source, endpoint):
    files = {path.name: path.read_bytes() for path in tiny_source.iterdir()}
    handler = type("Handler", (FakeHub,), {"files": files, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint(f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


class TestDownload:
    def test_it_is_fetched_once_and_then_comes_from_the_cache(
        self, fake_hub, hf_home, tiny_source, tokens, capfd
    ):
        model = load_model("gpt2")
        assert torch.equal(model(tokens), load_model(tiny_source)(tokens))
        facts = model.provenance
        assert (facts["repository"], facts["revision"]) == ("gpt2", COMMIT)
        assert (hf_home / "hub" / "models--gpt2" / "snapshots" / COMMIT).is_dir()
        assert not [line for line in fake_hub.asked if ".bin" in line]
        asked = len(fake_hub.asked)
        assert torch.equal(load_model("gpt2", offline=True)(tokens), model(tokens))
        assert torch.equal(load_model("gpt2")(tokens), model(tokens))
        assert len(fake_hub.asked) == asked
        captured = capfd.readouterr()
        assert captured.out == captured.err == ""

    def test_another_architecture_is_refused_before_its_weights_come(self, fake_hub, hf_home):
        fake_hub.files["config.json"] = b'{"model_type": "llama"}'
        with pytest.raises(InputError, match="'llama'"):
            load_model("somebody/llama")
        assert not [line for line in fake_hub.asked if "safetensors" in line]

    def test_a_model_that_is_pickled_only_is_refused_by_name(self, fake_hub, hf_home):
        fake_hub.files["pytorch_model.bin"] = fake_hub.files.pop("model.safetensors")
        with pytest.raises(InputError, match="Pickled weights"):
            load_model("somebody/old")
        assert not [line for line in fake_hub.asked if ".bin" in line]

    def test_an_unknown_repository_is_an_input_error(self, fake_hub, hf_home):
        fake_hub.files.clear()
        with pytest.raises(InputError, match="no somebody/nothing"):
            load_model("somebody/nothing")

    @pytest.mark.parametrize(("status", "error"), [(401, InputError), (503, RunError)])
    def test_what_the_hub_says_is_passed_on(self, fake_hub, hf_home, status, error):
        fake_hub.status = status
        started = time.monotonic()
        with pytest.raises(error, match=str(status)):
            load_model("gpt2")
        assert time.monotonic() - started < 5

    def test_a_download_that_breaks_off_is_a_run_error(self, fake_hub, hf_home, monkeypatch):
        def break_off(*args, **kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", break_off)
        with pytest.raises(RunError, match="No space left"):
            load_model("gpt2")
