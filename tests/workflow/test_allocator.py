"""Memory that torch frees stays in the process."""

import subprocess
import sys

import pytest

from lossatlas.workflow.allocator import keep_freed_memory

CODE = """
import resource, sys, torch
from lossatlas.workflow.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(30):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library has no mallopt (not glibc)")
def test_a_freed_block_is_used_again_without_the_kernel():
    """Ten times 64 MiB: mapped anew, each block costs a page fault a page (or a huge page).

    Before, thirty times: the heap first grows to where a block fits between what small allocations left.
    """
    kept, given_back = faults("keep"), faults("give back")
    print(kept, given_back)
    assert given_back >= 10 * 32  # even with huge pages of 2 MiB
    assert kept < 0.1 * given_back
