"""One of several processes: what it reports of itself, and what it leaves to the launcher."""

import types

import pytest
import torch.distributed as dist

from q2_aam.config.runtime import FSDP
from q2_aam.runtime import member
from q2_aam.runtime.launch import ERROR

GLOO = '[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:3269.'


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Let the first of two processes, among which weights are divided, meet an error."""
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    ranks = types.SimpleNamespace(rank=0, size=2, strategy=FSDP, parted=False, on_first=lambda function: function)

    def make(error):
        def broken(*_):
            raise error

        with pytest.raises(member.Disconnected):
            member._work(tmp_path, ranks, broken)
        return (tmp_path / ERROR.format(0)).exists()

    return make


@pytest.mark.parametrize('error', [RuntimeError(GLOO), dist.DistBackendError('NCCL error: remote process exited')])
def test_a_process_that_misses_another_within_an_exchange_of_weights_has_no_error_of_its_own(work, error):
    # so that all are started again
    assert not work(error)


def test_a_defect_is_reported(work):
    assert work(RuntimeError('mat1 and mat2 shapes cannot be multiplied'))
