"""What LongTailMAP says of a class."""


def entry(name, count, group, precision, positives=5):
    return dict(
        name=name,
        train_count=count,
        group=group,
        num_positives=positives,
        average_precision=precision,
    )
