"""Fetching the challenge: what goes wrong is one line, and a download that stopped goes on."""

import subprocess
import sys

import pytest

from configs.errors import UserError
from data_prep.votsr.init import votsr_init

STACK = "vots2026/referral"


def told(tmp_path, stack=STACK):
    with pytest.raises(UserError) as caught:
        votsr_init(tmp_path / "w", stack)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "description.json: cannot be reached (ProxyError); check the network" in told(tmp_path)
    assert not (tmp_path / "w").exists()


def test_an_unknown_stack_names_those_that_are(tmp_path):
    assert "stack=vots2026/votsr: the toolkit has no such stack" in told(tmp_path, "vots2026/votsr")
    assert STACK in told(tmp_path, "vots2026/votsr")


def test_a_stack_file_of_ones_own_is_refused(tmp_path):
    (tmp_path / "own.yaml").write_text("dataset: https://example.com\nexperiments: {}\n")
    assert "the toolkit has no such stack" in told(tmp_path, str(tmp_path / "own.yaml"))


def test_importing_costs_no_toolkit():
    """`--help` and the reading of a workspace wait for neither."""
    code = (
        "import sys, data_prep.votsr.pack, data_prep.votsr.init, evaluation.votsr\n"
        "assert not {'vot', 'numba', 'torch', 'requests'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Answer:
    """What the challenge's server says."""

    def __init__(self, status):
        self.status_code, self.ok = status, status == 200


@pytest.fixture
def server(monkeypatch):
    """A server that answers, and a download that brings what `downloads` says."""
    import requests

    monkeypatch.setattr(requests, "get", lambda url, timeout: Answer(200))
    downloads = []

    def download(url, path):
        assert url == "https://data.votchallenge.net/vots2026/referral/description.json"
        downloads.pop(0)(path)

    monkeypatch.setattr("vot.dataset.download_dataset", download)
    return downloads


def breaks(path):
    from vot.utilities.net import NetworkException

    raise NetworkException("connection\nreset")


def brings_nothing(path):
    pass


def brings_all(path):
    with open(f"{path}/list.txt", "w") as lines:  # noqa: PTH123
        lines.write("ball\n")


def test_a_download_that_stopped_goes_on(tmp_path, server):
    server += [breaks, brings_nothing, brings_all]
    assert "the download failed (connection reset); run task=votsr_init again" in told(tmp_path)
    assert "some sequences could not be downloaded; run task=votsr_init again" in told(tmp_path)
    votsr_init(tmp_path / "w", STACK)
    assert f"stack: {STACK}" in (tmp_path / "w" / "config.yaml").read_text()
    assert "is a workspace with its sequences already" in told(tmp_path)


def test_a_workspace_of_another_stack_is_left_alone(tmp_path, server):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.yaml").write_text("stack: vots2026/main\n")
    assert "is a workspace of the stack vots2026/main; choose another folder" in told(tmp_path)


def test_a_server_that_refuses(tmp_path, monkeypatch):
    import requests

    monkeypatch.setattr(requests, "get", lambda url, timeout: Answer(404))
    assert "the server answers 404; check the network" in told(tmp_path)
