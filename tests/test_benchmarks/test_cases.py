from benchmarks.cases import class_names


def test_names_are_as_many_as_asked_and_different():
    names = class_names(1000)
    assert len(set(names)) == 1000
    assert names[:80] == class_names(80)
    assert names[0] == "person" and names[80] == "person 1"
