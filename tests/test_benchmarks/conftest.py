"""How the benchmarks are run on sizes that take no time."""

import argparse


def run(module, clip, *options):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    args = parser.parse_args(list(options))
    return module.run(
        argparse.Namespace(**vars(args), device="cpu", rounds=1, clip=clip)
    )
