"""The collector pauses while something is loaded, and runs again whatever happens."""

import gc

import pytest

from lossatlas.workflow.collector import paused


def test_the_collector_pauses_and_runs_again():
    assert gc.isenabled()
    with paused():
        assert not gc.isenabled()
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled(), "an inner pause does not end the outer one"
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), paused():
        _ = 1 / 0
    assert gc.isenabled()
