"""The script on a copy of its folder, with stand-ins for Python, pip and the disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Answers what the script asks of a Python, and notes what it is told to do; the second
# half of the script, quickstart.py, it runs. As the settings say: its version, whether
# it has venv, what pip does.
PYTHON = """#!{python} -S
import os, pathlib, runpy, shutil, sys, types
here = pathlib.Path(__file__)
settings = dict(version="3.12", venv="yes", pip="works")
settings.update(line.split("=") for line in
                pathlib.Path({settings!r}).read_text().split())
arguments = sys.argv[1:]
with open({calls!r}, "a") as file:
    file.write(" ".join(arguments).replace("\\n", " ") + "\\n")
if arguments[0] == "-c":
    code = arguments[1]
    if "find_spec" in code:
        sys.exit(settings["pip"] != "works")
    if "ensurepip" in code:
        sys.exit(settings["venv"] != "yes")
    major, minor = map(int, settings["version"].split("."))
    if "print" in code:
        print(settings["version"])
    else:
        sys.exit((major, minor) < (3, 10))
elif arguments[:2] == ["-m", "venv"]:
    folder = pathlib.Path(arguments[2], "bin")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(here, folder / "python")
elif arguments[:3] == ["-m", "pip", "install"]:
    for number in range(200):
        print("Collecting package", number)
    for number in range(50):
        print("WARNING: the index lacks package", number)
    if settings["pip"] != "works":
        print("ERROR: no such package")
        sys.exit(1)
elif arguments[0].endswith("quickstart.py"):
    def disk_usage(path):
        free_mb = int(pathlib.Path({free_mb!r}).read_text())
        return types.SimpleNamespace(free=free_mb << 20)
    shutil.disk_usage = disk_usage
    sys.executable = str(here)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
elif arguments[0].endswith("compare.py"):
    print("compared with", os.environ["XDG_CACHE_HOME"])
"""


class Machine:
    """A fresh clone in a folder with a space in its name, and what is installed."""

    def __init__(self, folder):
        self.clone = folder / "a clone"
        self.bin = folder / "bin"
        self.settings = folder / "settings"
        self.calls_file = folder / "calls"
        self.settings.touch()
        (self.clone / "tools").mkdir(parents=True)
        tools = ("tools/quickstart.sh", "tools/quickstart.py")
        for name in ("setup.py", "constraints.txt", *tools):
            shutil.copy(REPOSITORY / name, self.clone / name)
        (self.clone / "configs" / "demo" / "ablation").mkdir(parents=True)
        (self.clone / "configs" / "demo" / "ablation" / "bce.py").touch()
        self.bin.mkdir()
        for tool in "bash dirname sed sh".split():
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.free_mb = folder / "free_mb"
        self.free_mb.write_text("20000")

    def install(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install_python(self, name="python3", **settings):
        """With the settings of the stand-in above."""
        self.settings.write_text(
            "\n".join(f"{key}={value}" for key, value in settings.items())
        )
        self.install(
            name,
            PYTHON.format(
                python=sys.executable,
                settings=str(self.settings),
                calls=str(self.calls_file),
                free_mb=str(self.free_mb),
            ),
        )

    def run(self, *arguments, **environment):
        """Run the script from another folder; returns status and what it says."""
        done = subprocess.run(
            ["bash", str(self.clone / "tools" / "quickstart.sh"), *arguments],
            env=dict(PATH=str(self.bin), HOME="/nowhere", **environment),
            cwd=self.bin,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def calls(self, word):
        """What Python was told to do, of which ``word`` is a part; forgets it."""
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return [line for line in lines if word in line]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_first_run_installs_and_the_second_reuses_it(machine):
    machine.install_python()
    status, output = machine.run()
    assert status == 0, output
    assert str(machine.clone / ".cache") in output
    lines = machine.calls_file.read_text().splitlines()
    install = "-m pip install --disable-pip-version-check -c constraints.txt -e ."
    assert lines.count("-m venv .venv") == lines.count(install) == 1
    assert lines[-1].startswith("tools/compare.py configs/demo/zero_shot.py")
    assert lines[-1].endswith("--work-dir work_dirs/demo")

    machine.calls_file.write_text("")
    machine.free_mb.unlink()  # nothing is asked of the machine either
    (machine.bin / "python3").unlink()
    status, output = machine.run("--seeds", "3", "--cfg-options", "a=[1, 2]")
    assert status == 0, output
    (call,) = machine.calls("compare.py")
    assert call.endswith("--work-dir work_dirs/demo --seeds 3 --cfg-options a=[1, 2]")
    assert machine.calls("-m") == []


def test_the_ablation_is_compared_too(machine):
    machine.install_python()
    status, output = machine.run("--ablation", "--seeds", "2")
    assert status == 0, output
    (call,) = machine.calls("compare.py")
    assert " configs/demo/ablation/bce.py --tta configs/demo/capnet.py " in call
    assert call.endswith("--seeds 2")


def test_other_requirements_or_an_interrupted_installation_are_installed_again(
    machine,
):
    machine.install_python()
    assert machine.run()[0] == 0
    with open(machine.clone / "constraints.txt", "a") as file:
        file.write("another==1.0\n")
    machine.calls("")
    assert machine.run()[0] == 0
    assert len(machine.calls("pip install")) == 1

    machine.install_python(pip="fails")  # packages are gone, and pip fails half-way
    assert machine.run()[0] == 1
    machine.install_python()
    machine.calls("")
    assert machine.run()[0] == 0
    assert len(machine.calls("pip install")) == 1


def test_an_old_python_is_named(machine):
    machine.install_python(version="3.9")
    status, output = machine.run()
    assert status == 1
    assert "no Python 3.10 or newer was found (found: python3 (3.9))" in output
    assert "PYTHON=" in output
    assert not (machine.clone / ".venv").exists()


def test_no_python_at_all_is_named(machine):
    status, output = machine.run()
    assert status == 1
    assert "(found: none)" in output


def test_a_newer_python_beside_an_old_one_is_found_and_one_can_be_named(machine):
    machine.install(
        "python3", "#!/bin/sh\ncase $2 in *print*) echo 3.9;; *) exit 1; esac"
    )
    machine.install_python("python3.11", version="3.11")
    status, output = machine.run()
    assert status == 0, output
    assert "with python3.11" in output
    status, output = machine.run(PYTHON=str(machine.bin / "python3"))
    assert status == 0, output  # the environment is there already

    shutil.rmtree(machine.clone / ".venv")
    status, output = machine.run(PYTHON=str(machine.bin / "python3"))
    assert status == 1
    assert "python3 (3.9)" in output


def test_a_python_without_venv_is_named_with_the_package_to_install(machine):
    machine.install_python(version="3.11", venv="no")
    status, output = machine.run()
    assert status == 1
    assert "apt install python3.11-venv" in output


def test_too_little_disk_space_stops_before_anything_is_made(machine):
    machine.install_python()
    machine.free_mb.write_text("2000")
    status, output = machine.run()
    assert status == 1
    assert "too little disk space" in output and "2000 MB" in output
    assert not (machine.clone / ".venv").exists()
    # For a smaller PyTorch, or for those who know, less is asked for.
    machine.free_mb.write_text("4000")
    index = "https://download.pytorch.org/whl/cpu"
    assert machine.run(PIP_EXTRA_INDEX_URL=index)[0] == 0
    shutil.rmtree(machine.clone / ".venv")
    assert machine.run(QUICKSTART_NEED_MB="3999")[0] == 0


def test_a_pip_that_fails_gets_an_explanation(machine):
    machine.install_python(pip="fails")
    status, output = machine.run()
    assert status == 1
    for advice in ("HTTPS_PROXY", "PIP_INDEX_URL", "pip download", "PIP_FIND_LINKS"):
        assert advice in output
    assert machine.calls("compare.py") == []


def test_of_pip_only_warnings_and_the_end_of_a_failure_are_shown(machine):
    machine.install_python()
    status, output = machine.run()
    assert status == 0
    assert output.count("WARNING: the index lacks") == 3
    assert "and 47 more warnings of pip" in output and "Collecting" not in output
    assert len(output.splitlines()) <= 8
    log = machine.clone / ".cache" / "quickstart-pip.log"
    assert log.read_text().count("Collecting package") == 200

    shutil.rmtree(machine.clone / ".venv")
    machine.calls("")
    status, output = machine.run("--verbose")
    assert status == 0
    assert output.count("Collecting package") == 200
    assert machine.calls("compare.py")[0].endswith("--verbose")

    shutil.rmtree(machine.clone / ".venv")
    machine.install_python(pip="fails")
    status, output = machine.run()
    assert status == 1
    assert "WARNING: the index lacks package 49\nERROR: no such package" in output
    assert len(output.splitlines()) < 40


def test_an_environment_of_an_old_python_or_without_pip_is_made_again_or_named(machine):
    machine.install_python()
    assert machine.run()[0] == 0
    (machine.clone / ".venv" / "bin" / "python").unlink()
    machine.calls("")
    assert machine.run()[0] == 0
    assert len(machine.calls("-m venv .venv")) == 1

    (machine.clone / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    # As Python's own, this venv leaves what is there.
    base = machine.bin / "python3"
    base.write_text(base.read_text().replace("shutil.copy(here", "print(here"))
    status, output = machine.run()
    assert status == 1
    assert "of another Python or damaged, delete it" in output


def test_the_script_is_short():
    script = REPOSITORY / "tools" / "quickstart.sh"
    assert len(script.read_text().splitlines()) <= 80


def test_help_explains_the_arguments(machine):
    status, output = machine.run("--help")
    assert status == 0
    assert "--ablation" in output and "QUICKSTART_NEED_MB" in output
    assert "set -euo" not in output


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is missing")
def test_the_script_is_clean():
    done = subprocess.run(
        ["shellcheck", REPOSITORY / "tools" / "quickstart.sh"],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
