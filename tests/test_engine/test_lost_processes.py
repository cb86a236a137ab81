import json
import os
from datetime import timedelta

import pytest
import torch
from conftest import in_processes

from capnet_mm.engine.lost_processes import lost_processes


@pytest.mark.parametrize("dead", [0, 1])
def test_survivors_name_the_process_that_has_died(dead):
    found = in_processes(3, __file__, str(dead))
    assert [each for rank, each in enumerate(found) if rank != dead] == [[dead]] * 2


def test_other_errors_are_no_lost_process():
    assert lost_processes(RuntimeError("gloo: Connection closed by peer")) == []


def in_process(dead):
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, total = int(os.environ["RANK"]), torch.ones(10)
    torch.distributed.all_reduce(total)
    found = []
    if rank != dead:
        assert lost_processes(ValueError("of the model")) == []
        try:
            while True:
                torch.distributed.all_reduce(total)
        except RuntimeError as error:
            found = lost_processes(error, patience=2)
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    import sys

    in_process(int(sys.argv[1]))
